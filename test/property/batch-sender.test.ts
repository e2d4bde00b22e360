import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import { type BatchSender, createBatchSender } from '../../infra/runtime/kafka/producer/batch-sender.ts'
import { outgoingColumns } from '../../infra/runtime/kafka/producer/outgoing-columns.ts'
import type { PartitionOptions } from '../../infra/runtime/kafka/producer/sequenced-partition.ts'
import type { RecordColumns } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { type Happening, modelBroker } from '../support/model-broker.ts'

// Whatever is lost, refused or late between a producer and its broker: everything is stored once, in order.

const LAST_SEQUENCE = 2 ** 31 - 1
const HAPPENINGS: readonly Happening[] = [
  'served',
  'request lost',
  'answer lost',
  'served late',
  'not enough replicas',
  'not enough replicas after append',
  'timed out after append',
  'leader moves',
]

/** Time passes with the turns of the event loop. */
function turningClock(): Clock {
  let at = 0
  return {
    now: () => at,
    monotonic: () => at,
    async sleep(ms) {
      at += ms
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

function senderOn(
  connections: Parameters<typeof createBatchSender>[0]['connections'],
  deliveryTimeoutMs = 1e9,
): BatchSender {
  return createBatchSender({
    connections,
    clock: turningClock(),
    compression: 'none',
    lingerMs: 0,
    requestTimeoutMs: 1_000,
    deliveryTimeoutMs,
    maxBytesInFlight: 1_000,
  })
}

const partitionOptions = (partition: number, firstSequence = 0): PartitionOptions => ({
  topic: 't',
  partition,
  producer: { id: 7n, epoch: 1 },
  generation: null,
  logEnd: 0,
  trusted: () => true,
  firstSequence,
})

function batch(values: readonly string[]): RecordColumns {
  return outgoingColumns(
    values.map((value) => ({ key: null, value: Buffer.from(value) })),
    1,
  )
}

test('every batch is stored once and in order, whatever happens on the way', async () => {
  const happenings = fc.infiniteStream(
    fc.oneof(
      { weight: 3, arbitrary: fc.constant<Happening>('served') },
      { weight: 2, arbitrary: fc.constantFrom(...HAPPENINGS) },
    ),
  )
  const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 25 })
  const firstSequences = fc.oneof(fc.constant(0), fc.integer({ min: LAST_SEQUENCE - 20, max: LAST_SEQUENCE }))
  await fc.assert(
    fc.asyncProperty(
      happenings,
      fc.array(sizes, { minLength: 1, maxLength: 3 }),
      firstSequences,
      async (stream, lanes, first) => {
        const broker = modelBroker(() => stream.next().value ?? 'served')
        const sender = senderOn(broker.connections)
        const written = lanes.map(async (batches, partition) => {
          const log = sender.open(partitionOptions(partition, first))
          const expected: string[] = []
          const offsets = batches.map(async (size, index) => {
            const values = Array.from({ length: size }, (_, row) => `${partition} ${index} ${row}`)
            const from = expected.length
            expected.push(...values)
            const { baseOffset } = await log.append(batch(values))
            expect(baseOffset).toBe(from)
          })
          await Promise.all(offsets)
          expect(broker.log('t', partition)).toEqual(expected)
          expect(log.bytesInFlight).toBe(0)
        })
        await Promise.all(written)
        expect(broker.mostInFlight).toBeLessThanOrEqual(5)
        expect(sender.room()).toBeNull()
        sender.close()
      },
    ),
    { numRuns: 300 },
  )
})

test('partitions that are written in the same turn share a request; five batches of one are on their way', async () => {
  const broker = modelBroker(() => 'served')
  const sender = senderOn(broker.connections)
  const logs = [0, 1, 2, 3].map((partition) => sender.open(partitionOptions(partition)))
  await Promise.all(logs.map((log) => log.append(batch(['first']))))
  expect(broker.requests).toBe(1)
  expect(broker.mostInFlight).toBe(1)
  await Promise.all(logs.flatMap((log) => Array.from({ length: 12 }, (_, index) => log.append(batch([`${index}`])))))
  expect(broker.mostInFlight).toBe(5)
})

test('the first batch of an epoch is alone on its way: nothing may land before it', async () => {
  const happenings: Happening[] = ['request lost']
  const broker = modelBroker(() => happenings.shift() ?? 'served')
  const log = senderOn(broker.connections).open(partitionOptions(0))
  await Promise.all(['a', 'b', 'c'].map((value) => log.append(batch([value]))))
  expect(broker.log('t', 0)).toEqual(['a', 'b', 'c'])
})

test('room is there again when something is acknowledged', async () => {
  const broker = modelBroker(() => 'served')
  const sender = senderOn(broker.connections)
  const written = sender.open(partitionOptions(0)).append(batch(['x'.repeat(2_000)]))
  const room = sender.room()
  expect(room).not.toBeNull()
  await room
  await written
  expect(sender.room()).toBeNull()
})

test('without an answer in time the outcome is unknown, and nothing more is sent', async () => {
  const broker = modelBroker(() => 'request lost')
  const log = senderOn(broker.connections, 5_000).open(partitionOptions(0))
  const results = await Promise.allSettled([log.append(batch(['a'])), log.append(batch(['b']))])
  expect(results.map((result) => result.status === 'rejected' && describeError(result.reason).code)).toEqual([
    'outcome_unknown',
    'outcome_unknown',
  ])
  const { requests } = broker
  await expect(log.append(batch(['c']))).rejects.toMatchObject({ code: 'outcome_unknown', fate: 'retry' })
  expect(broker.requests).toBe(requests)
})

test('a process that is not trusted any more sends nothing', async () => {
  const broker = modelBroker(() => 'served')
  let trusted = true
  const log = senderOn(broker.connections).open({ ...partitionOptions(0), trusted: () => trusted })
  await log.append(batch(['a']))
  trusted = false
  await expect(log.append(batch(['b']))).rejects.toMatchObject({ code: 'lane_lost', fate: 'retry' })
  expect(broker.log('t', 0)).toEqual(['a'])
})
