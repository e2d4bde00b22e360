import { expect, test } from 'vitest'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { fatal, retryable } from '../../infra/runtime/errors.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { predictionAnswers, rejectionAnswers } from '../../sinks/results/read-answers.ts'
import { runResults } from '../../sinks/results/results-loop.ts'
import { answerBatch } from '../support/answer-batch.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { predictionOf } from '../support/predictions.ts'

const predictionType = parseAvroSchema(await readContract('prediction'), 'prediction')
const letterSchema = await readContract('dead-letter')
const letterType = parseAvroSchema(letterSchema, 'dead letter')
const LETTER_ID = 4

/** See answer-entries.ts. */
function entriesOf(block: Buffer): readonly { where: string; event: string; answer: Buffer }[] {
  const entries = []
  for (let at = 0; at < block.length; ) {
    const whereEnd = at + 1 + (block[at] as number)
    const eventEnd = whereEnd + 4 + block.readUInt32BE(whereEnd)
    const end = eventEnd + 4 + block.readUInt32BE(eventEnd)
    entries.push({
      where: block.toString('utf8', at + 1, whereEnd),
      event: block.toString('utf8', whereEnd + 4, eventEnd),
      answer: block.subarray(eventEnd + 4, end),
    })
    at = end
  }
  return entries
}

test('a prediction is its record as it is, found by coordinates and by tenant and id; bytes that are none are passed over', async () => {
  const values = [
    predictionType.encode(70_000, predictionOf({ tenant: 'ä', event_id: 'ö/1', origin_offset: 2 ** 40 })),
    predictionType.encode(1, predictionOf({ tenant: 't'.repeat(200), event_id: '', origin_offset: 0 })),
  ]
  const cut = values.flatMap((value) => Array.from({ length: 40 }, (_, length) => value.subarray(0, length)))
  const read = await predictionAnswers(answerBatch(12, [...values, null, ...cut]), 0)
  expect([read.answers, read.passed]).toEqual([2, 81])
  expect(read.blocks.flatMap(entriesOf)).toEqual([
    { where: `12.${2 ** 40}`, event: 'ä/ö/1', answer: values[0] },
    { where: '12.0', event: `${'t'.repeat(200)}/`, answer: values[1] },
  ])
})

test('large answers go in several calls', async () => {
  const outputs = Array.from({ length: 100_000 }, () => 0.5)
  const value = predictionType.encode(1, predictionOf({ outputs }))
  const { blocks } = await predictionAnswers(
    answerBatch(
      0,
      Array.from({ length: 9 }, () => value),
    ),
    0,
  )
  expect(blocks.map((block) => entriesOf(block).length)).toEqual([3, 3, 3])
})

function letterOf(change: Partial<DeadLetter>): Buffer {
  return letterType.encode(LETTER_ID, {
    ...{ stage: 'processors', pipeline: 'orders', reason: 'not_avro', kind: 'rejected', message: 'm', tenant: 'shop' },
    ...{ event_id: 'e', topic: 'orders.events', partition: 2, source_generation: 'g', source_offset: 5, attempts: 1 },
    ...{ origin_generation: 'g', origin_offset: 5, schema_id: null, key: null, value: Buffer.alloc(0), headers: {} },
    ...{ failed_at: 77, replay_of: null, original_bytes: null },
    ...change,
  })
}

test('a letter is an answer when it ends an event; a repetition is not found by its id', async () => {
  const reader = createAvroReader<DeadLetter>({
    schema: letterSchema,
    name: 'dead letter',
    registry: memoryRegistry(new Map([[LETTER_ID, letterSchema]])),
    clock: manualClock(),
    unknownSchemaWaitMs: 1_000,
  })
  const letters = [
    letterOf({}),
    letterOf({ stage: 'fused', kind: 'filtered', reason: 'duplicate_event_id', origin_offset: 6 }),
    letterOf({
      stage: 'inference',
      event_id: null,
      origin_offset: 7,
      topic: 'orders.features',
      message: 'x'.repeat(9_000),
    }),
    letterOf({ stage: 'sinks', kind: 'unstored' }),
    letterOf({ kind: 'retention_lost', origin_generation: '', origin_offset: -1 }),
    Buffer.from('no letter'),
  ]
  const { blocks, answers, passed } = await rejectionAnswers(reader)(answerBatch(2, letters), 0)
  expect([answers, passed]).toEqual([3, 3])
  const entries = blocks
    .flatMap(entriesOf)
    .map(({ where, event, answer }) => [where, event, JSON.parse(answer.toString())])
  const said = { generation: 'g', tenant: 'shop', event_id: 'e', reason: 'not_avro', message: 'm', failed_at: 77 }
  expect(entries).toEqual([
    ['2.5', 'shop/e', said],
    ['2.6', '', { ...said, reason: 'duplicate_event_id' }],
    ['2.7', '', { ...said, event_id: null, message: 'x'.repeat(2_000) }],
  ])
})

function loopOf(failures: unknown[]) {
  const batches = [answerBatch(0, [predictionType.encode(1, predictionOf())])]
  const settled: unknown[] = []
  const stored: number[] = []
  const retried: string[] = []
  const stopping = new AbortController()
  const loop = runResults(
    {
      source: {
        take: async () => batches.splice(0),
        settle: (batch) => void settled.push(batch),
        owns: () => true,
      },
      read: predictionAnswers,
      async store(blocks) {
        const failure = failures.shift()
        if (failure !== undefined) throw failure
        stored.push(blocks.length)
        return 0
      },
      ttlMs: 1_000_000,
      limits: { maxRows: 10, maxBytes: 1_000, lingerMs: 0 },
      retry: { baseMs: 1, maxMs: 1 },
      clock: manualClock(),
      observer: {
        stored: () => undefined,
        retrying({ code, attempt }) {
          retried.push(code)
          if (attempt === 10) stopping.abort()
        },
      },
    },
    stopping.signal,
  )
  return { loop, settled, stored, retried }
}

test('whatever is wrong with Redis is waited out; what nobody understands ends it; a stop settles nothing that is not stored', async () => {
  const redis = loopOf([retryable('redis_unavailable', ''), fatal('redis_refused', ''), fatal('redis_error', '')])
  await redis.loop.ended
  expect([redis.settled.length, redis.stored, redis.retried]).toEqual([
    1,
    [1],
    ['redis_unavailable', 'redis_refused', 'redis_error'],
  ])
  expect(redis.loop.isWaiting()).toBe(false)

  const bug = loopOf([new Error('a bug')])
  await expect(bug.loop.ended).rejects.toThrow('a bug')
  expect(bug.settled).toEqual([])

  const stopped = loopOf(Array.from({ length: 20 }, () => retryable('redis_unavailable', '')))
  await stopped.loop.ended
  expect([stopped.settled.length, stopped.retried.length, stopped.loop.isWaiting()]).toEqual([0, 10, true])
})
