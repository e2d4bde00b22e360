import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { fateOf, rejected, retryable } from '../../infra/runtime/errors.ts'
import { type OpenOutcome, openOutcome } from '../../infra/runtime/kafka/outcome.ts'
import type { DeadLetter, Prediction } from '../../schemas/generated/records.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { deadLetterRows } from '../../sinks/clickhouse/dead-letter-rows.ts'
import { createDeadLetterSink } from '../../sinks/clickhouse/dead-letter-sink.ts'
import { createRowInserter } from '../../sinks/clickhouse/insert-rows.ts'
import { predictionRows } from '../../sinks/clickhouse/prediction-rows.ts'
import { createTableSink } from '../../sinks/clickhouse/table-sink.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { predictionOf } from '../support/predictions.ts'

const SCHEMA_ID = 4
const schema = JSON.parse(readFileSync('schemas/avro/prediction.avsc', 'utf8')) as AvroSchema
const type = parseAvroSchema(schema, 'prediction')
const encoded = (id: string): Buffer => type.encode(SCHEMA_ID, predictionOf({ event_id: id, label: null }))
const NOT_AVRO = Buffer.from('no')
const UNKNOWN = Buffer.from([0, 0, 0, 0, 99, 1])

/** A store that keeps whole inserts, fails as told and refuses the rows of some events. */
function memoryStore(options: { refuses?: readonly string[]; failures?: unknown[] } = {}) {
  const inserts: string[][] = []
  return {
    inserts,
    async insert(_table: string, _columns: readonly string[], rows: readonly object[]) {
      const failure = options.failures?.shift()
      if (failure !== undefined) throw failure
      const ids = rows.map((row) => (row as { event_id: string }).event_id)
      inserts.push(ids)
      if (ids.some((id) => options.refuses?.includes(id))) throw rejected('clickhouse_refused_rows', 'does not fit')
    },
  }
}

function predictionSink(store: ReturnType<typeof memoryStore>, waitMs = 0) {
  const rows = predictionRows('flights')
  const clock = manualClock()
  const stored: string[] = []
  const reader = createAvroReader<Prediction>({
    schema,
    name: 'prediction',
    registry: memoryRegistry(new Map([[SCHEMA_ID, schema]])),
    clock,
    unknownSchemaWaitMs: waitMs,
  })
  const observer = {
    stored: (insert: { rows: readonly object[] }) =>
      void stored.push(...insert.rows.map((row) => (row as { event_id: string }).event_id)),
  }
  return {
    clock,
    stored,
    handler: createTableSink({ reader, rows, inserter: createRowInserter(store, rows), clock, observer }),
  }
}

const outcomeOf = (partition: number, values: readonly Buffer[]): OpenOutcome =>
  openOutcome(memoryBatch({ topic: 'p', partition, records: values.map((value) => ({ value })) }), [])

const ids = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)

test('all batches of a call go into one insert, and are done only once it is answered', async () => {
  const answer = Promise.withResolvers<void>()
  const inserts: number[] = []
  const rows = predictionRows('flights')
  const inserter = {
    async insert(of: readonly object[]) {
      inserts.push(of.length)
      await answer.promise
      return new Map<number, string>()
    },
  }
  const clock = manualClock()
  const registry = memoryRegistry(new Map([[SCHEMA_ID, schema]]))
  const reader = createAvroReader<Prediction>({ schema, name: 'p', registry, clock, unknownSchemaWaitMs: 0 })
  const handler = createTableSink({ reader, rows, inserter, clock, observer: { stored: () => {} } })
  const outcomes = [outcomeOf(0, [encoded('a'), encoded('b')]), outcomeOf(1, [encoded('c')])]
  const handled = handler.handle(outcomes)
  await expect.poll(() => inserts).toEqual([3])
  expect(() => outcomes[0]?.seal()).toThrow('was given no fate')
  answer.resolve()
  await handled
  expect(outcomes.map((outcome) => outcome.seal().settled)).toEqual([2, 1])
})

test('what cannot be decoded is unstored, the others are stored', async () => {
  const store = memoryStore()
  const { handler } = predictionSink(store)
  const outcome = outcomeOf(0, [encoded('a'), NOT_AVRO, encoded('b')])
  await handler.handle([outcome])
  expect(store.inserts).toEqual([['a', 'b']])
  expect(outcome.seal().rejections).toEqual([
    [1, { kind: 'unstored', reason: 'not_avro', message: expect.any(String), origin: null }],
  ])
})

test('a schema that the registry does not know yet holds its lane back, not the others', async () => {
  const store = memoryStore()
  const { handler } = predictionSink(store, 1_000)
  const waiting = outcomeOf(0, [encoded('a'), UNKNOWN, encoded('b')])
  const other = outcomeOf(1, [encoded('c')])
  await handler.handle([waiting, other])
  expect(store.inserts).toEqual([['a', 'c']])
  expect(waiting.seal()).toMatchObject({ settled: 1, deferral: { index: 1, code: 'unknown_schema' } })
  expect(other.seal().settled).toBe(1)
})

test('the very rows that the store refuses are unstored, found by halves', async () => {
  const store = memoryStore({ refuses: ['e5', 'e61'] })
  const { handler, stored } = predictionSink(store)
  const outcome = outcomeOf(0, ids('e', 64).map(encoded))
  await handler.handle([outcome])
  const { rejections, settled } = outcome.seal()
  expect(settled).toBe(64)
  expect(rejections.map(([index, { reason, kind, eventId }]) => [index, kind, reason, eventId])).toEqual([
    [5, 'unstored', 'unstorable', 'e5'],
    [61, 'unstored', 'unstorable', 'e61'],
  ])
  expect(stored).toHaveLength(62)
  expect(store.inserts.length).toBeLessThanOrEqual(2 * (2 * Math.log2(64) + 1))
})

test('a store that is down leaves no trace in the outcomes: the hop tries again', async () => {
  const down = retryable('clickhouse_unavailable', 'down')
  const store = memoryStore({ failures: [down] })
  const { handler, stored } = predictionSink(store)
  const outcome = outcomeOf(0, [encoded('a')])
  await expect(handler.handle([outcome])).rejects.toBe(down)
  expect(stored).toEqual([])
  await handler.handle([outcome])
  expect(outcome.seal().settled).toBe(1)
})

test('a dead letter that cannot be stored stops the process instead of coming back as another', async () => {
  const letters = JSON.parse(readFileSync('schemas/avro/dead-letter.avsc', 'utf8')) as AvroSchema
  const clock = manualClock()
  const registry = memoryRegistry(new Map([[SCHEMA_ID, letters]]))
  const reader = createAvroReader<DeadLetter>({ schema: letters, name: 'd', registry, clock, unknownSchemaWaitMs: 0 })
  const inserter = createRowInserter(memoryStore(), deadLetterRows)
  const handler = createDeadLetterSink({
    reader,
    rows: deadLetterRows,
    inserter,
    clock,
    observer: { stored: () => {} },
  })
  const failure: unknown = await handler.handle([outcomeOf(0, [NOT_AVRO])]).catch((error: unknown) => error)
  expect(failure).toMatchObject({ code: 'dead_letter_unstorable' })
  expect(fateOf(failure)).toBe('crash')
})
