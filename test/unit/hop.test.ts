import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { type HopObserver, type HopOptions, startHop } from '../../infra/runtime/kafka/hop.ts'
import type { BatchHandler } from '../../infra/runtime/kafka/outcome.ts'
import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'
import { readContract } from '../../infra/runtime/stage-hop.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { memoryBatch, memorySource, memoryWriter } from '../support/memory-kafka.ts'

const type = parseAvroSchema(await readContract('dead-letter'), 'dead-letter')
const clock: Clock = { now: () => 1_000, monotonic: () => 0, sleep: async () => {} }
const quiet: HopObserver = { settled: () => {}, retrying: () => {}, deferred: () => {} }

function hopOf(overrides: Partial<HopOptions> & Pick<HopOptions, 'source' | 'writer' | 'handler'>) {
  return startHop({
    outputs: { out: 'p.out' },
    deadLetters: {
      stage: 's',
      pipeline: 'p',
      type,
      schemaId: 7,
      replayOfHeader: 'millrace-replay-of',
      clock,
      topic: 'p.dead-letters',
    },
    limits: { maxRows: 100, maxBytes: 1_000, lingerMs: 0 },
    retry: { baseMs: 1, maxMs: 2 },
    clock,
    observer: quiet,
    ...overrides,
  })
}

const copy: BatchHandler = {
  async handle(outcomes) {
    for (const outcome of outcomes) {
      for (let i = 0; i < outcome.batch.length; i++) outcome.emit(i, 'out', outcome.batch.key(i), Buffer.from(`v${i}`))
    }
  },
}

const lane = (partition: number, count: number): RecordBatch =>
  memoryBatch({
    topic: 'p.in',
    partition,
    records: Array.from({ length: count }, (_, i) => ({ key: Buffer.from(`k${i}`) })),
  })

test('outputs keep their partition and key, and batches are settled after the write', async () => {
  const batches = [lane(0, 2), lane(5, 1)]
  const source = memorySource([batches])
  const writer = memoryWriter()
  await hopOf({ source, writer, handler: copy }).ended
  expect(writer.written.map(({ topic, partition, records }) => [topic, partition, records.length])).toEqual([
    ['p.out', 0, 2],
    ['p.out', 5, 1],
  ])
  expect(source.settlements.map(({ batch, count }) => [batch, count])).toEqual([
    [batches[0], 2],
    [batches[1], 1],
  ])
})

test('dead letters are written before outputs, with the original bytes and coordinates', async () => {
  const batch = memoryBatch({
    topic: 'p.in',
    partition: 2,
    offsets: [40, 41],
    records: [{ value: Buffer.from('good') }, { key: Buffer.from('k'), value: Buffer.from('bad') }],
  })
  const writer = memoryWriter()
  const handler: BatchHandler = {
    async handle([outcome]) {
      outcome?.emit(0, 'out', null, Buffer.from('v'))
      outcome?.reject(1, { kind: 'rejected', reason: 'broken', message: 'field x', eventId: 'e1', tenant: 't' })
    },
  }
  await hopOf({ source: memorySource([[batch]]), writer, handler }).ended
  expect(writer.written.map(({ topic }) => topic)).toEqual(['p.dead-letters', 'p.out'])
  const [record] = writer.written[0]?.records ?? []
  const letter = type.readerOf(type)(record?.value ?? Buffer.alloc(0)) as DeadLetter
  expect(letter).toMatchObject({
    stage: 's',
    reason: 'broken',
    partition: 2,
    source_offset: 41,
    origin_offset: 41,
    event_id: 'e1',
    attempts: 1,
    value: Buffer.from('bad'),
  })
})

test('a retry error of the handler or of the writer hands the same batches in again and settles them once', async () => {
  const batch = lane(0, 2)
  const source = memorySource([[batch]])
  const writer = memoryWriter([retryable('kafka_unavailable', 'down')])
  let calls = 0
  const handler: BatchHandler = {
    async handle(outcomes) {
      calls += 1
      if (calls === 1) throw retryable('redis_unavailable', 'down')
      await copy.handle(outcomes)
    },
  }
  const retried: string[] = []
  const observer = { ...quiet, retrying: ({ code }: { code: string }) => void retried.push(code) }
  await hopOf({ source, writer, handler, observer }).ended
  expect(retried).toEqual(['redis_unavailable', 'kafka_unavailable'])
  expect(source.settlements).toHaveLength(1)
})

test('what is not understood ends the hop and settles nothing', async () => {
  const source = memorySource([[lane(0, 1)]])
  const handler: BatchHandler = { handle: () => Promise.reject(new TypeError('bug')) }
  const hop = hopOf({ source, writer: memoryWriter(), handler })
  await expect(hop.ended).rejects.toThrow('bug')
  expect(source.settlements).toEqual([])
})

test('a batch of a lost partition is neither written nor counted', async () => {
  const kept = lane(0, 1)
  const lost = lane(1, 1)
  const source = memorySource([[kept, lost]])
  source.lost.add(lost)
  const writer = memoryWriter()
  await hopOf({ source, writer, handler: copy }).ended
  expect(writer.written.map(({ partition }) => partition)).toEqual([0])
  expect(source.settlements.map(({ batch }) => batch)).toEqual([kept])
})

test('a deferred lane is held back, the records before it are settled, other lanes flow on', async () => {
  const waiting = lane(0, 3)
  const flowing = lane(1, 1)
  const source = memorySource([[waiting, flowing]])
  const handler: BatchHandler = {
    async handle(outcomes) {
      await copy.handle(outcomes)
      outcomes[0]?.defer(1, 'no_model', 'unknown feature set')
    },
  }
  const writer = memoryWriter()
  await hopOf({ source, writer, handler }).ended
  expect(source.settlements.map(({ batch, count }) => [batch, count])).toEqual([
    [waiting, 1],
    [flowing, 1],
  ])
  expect(source.settlements[0]?.holdMs).toBeGreaterThan(0)
  expect(writer.written.map(({ records }) => records.length)).toEqual([1, 1])
})

test('stop gives up a round that waits for a dependency', async () => {
  const source = memorySource([[lane(0, 1)]])
  const waiting = Promise.withResolvers<void>()
  const patient: Clock = {
    ...clock,
    sleep: (_, signal) => new Promise((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true })),
  }
  const handler: BatchHandler = { handle: () => Promise.reject(retryable('down', 'down')) }
  const observer = { ...quiet, retrying: () => waiting.resolve() }
  const hop = hopOf({ source, writer: memoryWriter(), handler, clock: patient, observer })
  await waiting.promise
  await hop.stop()
  expect(source.settlements).toEqual([])
})
