import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import type { Prediction } from '../../schemas/generated/records.ts'
import { predictionRows } from '../../sinks/clickhouse/prediction-rows.ts'
import { createSealedStore } from '../../sinks/clickhouse/sealed/sealed-store.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { type MemoryRecord, memoryBatch } from '../support/memory-kafka.ts'
import { predictionOf } from '../support/predictions.ts'
import { land } from '../support/sealed-table.ts'
import { chunksOf, PREDICTION_WRITERS, type StoredBy } from '../support/stored-predictions.ts'

// Rows of predictions, made from their bytes by columns, are the rows that text from objects gives: on the real engine.

const database: TestDatabase = await migratedDatabase()
afterAll(() => database.drop())

const kind = predictionRows('flights')
const COLUMNS = [...Object.keys(kind.types), 'earliest'].join(', ')
const DAY_MS = 86_400_000
const DAY = Date.UTC(2026, 0, 5)

const text = fc.oneof(
  fc.constantFrom(
    '',
    'EWR',
    'main',
    'ümläut',
    '🛫',
    '\u0000',
    'a"\\\n',
    'x'.repeat(63),
    'y'.repeat(64),
    'é'.repeat(200),
  ),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
)
// text has no negative zero
const float = fc.oneof(
  fc.float().map((value) => value + 0),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 1e-45, 3.4028234663852886e38),
)
const time = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 0, max: 2 ** 42 }) },
  { weight: 1, arbitrary: fc.integer({ min: Date.UTC(1800, 0), max: Date.UTC(2400, 0) }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      -1,
      0,
      Date.UTC(1900, 0) - 1,
      Date.UTC(1900, 0),
      Date.UTC(2300, 0) - 1,
      Date.UTC(2300, 0),
    ),
  },
)
const offset = fc.oneof(
  { weight: 9, arbitrary: fc.nat() },
  { weight: 1, arbitrary: fc.constantFrom(-1, 2 ** 32, 2 ** 52 - 1, 2 ** 52, Number.MAX_SAFE_INTEGER) },
)
const prediction: fc.Arbitrary<Prediction> = fc
  .record({
    event_id: text,
    tenant: text,
    segment: text,
    event_time: time,
    ingested_at: fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: DAY, max: DAY + 3 * DAY_MS }) },
      { weight: 1, arbitrary: fc.constantFrom(-1, Date.UTC(1899, 0)) },
    ),
    event_schema_id: fc.integer(),
    origin_generation: text,
    origin_offset: offset,
    source_offset: offset,
    features: fc.array(float, { maxLength: 40 }),
    degraded: fc.boolean(),
    traceparent: fc.option(text),
    model: text,
    model_version: text,
    role: fc.constantFrom('primary', 'canary', 'shadow'),
    score: float,
    outputs: fc.array(float, { maxLength: 3 }),
    label: fc.option(text),
    provider: fc.constantFrom('cpu', 'cuda'),
    batch_rows: fc.integer(),
    scored_at: time,
    answer: fc.constantFrom('scored', 'late', 'fallback'),
  })
  .map((change) => predictionOf(change as Partial<Prediction>))

const whole = fc
  .tuple(prediction, fc.nat(PREDICTION_WRITERS.length - 1))
  .map(([record, id]) => PREDICTION_WRITERS[id]?.type.encode(id, { ...record, more: 1 }) as Buffer)
const damaged = fc
  .tuple(whole, fc.nat(), fc.integer({ min: 0, max: 255 }), fc.constantFrom('flip', 'cut', 'insert', 'append'))
  .map(([bytes, where, byte, how]) => {
    const at = where % (bytes.length + 1)
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)]
    if (how === 'cut') return before
    if (how === 'append') return Buffer.concat([bytes, Buffer.from([byte])])
    return Buffer.concat([before, Buffer.from([byte]), how === 'insert' ? after : after.subarray(1)])
  })
const value = fc.oneof(
  { weight: 8, arbitrary: whole },
  { weight: 3, arbitrary: damaged },
  { weight: 1, arbitrary: fc.constant(null) },
)
const record = fc.record({
  value,
  timestamp: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 0, max: 2 ** 42 }) }, fc.constant(-1)),
})

for (const table of ['columns', 'text']) {
  await database.client.command(`CREATE TABLE by_${table} AS predictions`)
  // of two rows with one key, from two rounds, both are to stay
  await database.client.command(`SYSTEM STOP MERGES by_${table}`)
}

async function storedBy(by: StoredBy, generation: string, records: readonly MemoryRecord[], columns = COLUMNS) {
  const table = `by_${by}`
  const { constants = {}, ...byText } = { ...kind, table }
  const store = createSealedStore(database.client, database.name, by === 'columns' ? { ...byText, constants } : byText)
  const offsets = records.map((_, at) => 3 * at)
  const batch = memoryBatch({ topic: 'flights.predictions', partition: 0, generation, records, offsets })
  const { chunks, decoded } = await chunksOf(batch, by)
  const refused: string[] = []
  for (const chunk of chunks) {
    if (chunk.rows > 0) refused.push(...(await land(store, chunk)).refused.values())
  }
  const rows = await database.client.rows(
    `SELECT ${columns} FROM ${table} WHERE kafka_generation = {generation:String} ORDER BY kafka_offset`,
    { generation },
  )
  const facts = chunks.map(({ rows: count, offsets, tablePartitions, times, latenciesMs, rejected, b }) => ({
    ...{ count, offsets, tablePartitions, times, latenciesMs, b },
    rejected: rejected.map(({ index, rejection }) => ({ index, rejection })),
  }))
  return { rows, facts, refused, decoded }
}

let round = 0

test('whatever was predicted, whoever wrote it, and whatever became of its bytes: both ways store the same', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 60 }), async (records) => {
      const generation = `round-${++round}`
      const byColumns = await storedBy('columns', generation, records)
      const byText = await storedBy('text', generation, records)
      expect(byColumns.facts).toEqual(byText.facts)
      expect(byColumns.rows).toEqual(byText.rows)
      expect(byColumns.refused).toEqual(byText.refused)
    }),
    { numRuns: 60, endOnFailure: true },
  )
})

const valuesOf = (count: number, change: (at: number) => Partial<Prediction>, writer = 0): readonly MemoryRecord[] =>
  Array.from({ length: count }, (_, at) => ({
    value: PREDICTION_WRITERS[writer]?.type.encode(writer, {
      more: 1,
      ...predictionOf({ ...change(at), origin_offset: at }),
    }) as Buffer,
    timestamp: DAY + at,
  }))

test('of what this release has written no object is made, of what another has written one each', async () => {
  const records = (writer: number) => valuesOf(50, (at) => ({ event_id: `event ${at}` }), writer)
  const decoded = await Promise.all(
    PREDICTION_WRITERS.map(
      async (_, writer) => (await storedBy('columns', `writer-${writer}`, records(writer))).decoded,
    ),
  )
  expect(decoded).toEqual([0, 50, 50])
})

test.each([
  ['a byte', 200],
  ['two bytes', 20_000],
  ['four bytes', 70_000],
])('texts that repeat are kept once, whether their numbers take %s', async (_, count) => {
  const generation = `keys-${count}`
  const records = valuesOf(count + 100, (at) => ({
    event_id: String(at),
    segment: `segment ${at % count}`,
    tenant: String(at % 7),
  }))
  const { rows, refused } = await storedBy('columns', generation, records, 'event_id, segment, tenant')
  expect(refused).toEqual([])
  const wrong = (rows as Prediction[]).filter(
    ({ event_id: id, segment, tenant }) =>
      segment !== `segment ${Number(id) % count}` || tenant !== String(Number(id) % 7),
  )
  expect([rows.length, wrong]).toEqual([count + 100, []])
})

test('rows of several days in one chunk go by one insert each, and come out as they went in', async () => {
  const records = valuesOf(300, (at) => ({
    event_id: `event ${at}`,
    ingested_at: DAY + (at % 5) * DAY_MS,
    features: Array.from({ length: at % 4 }, (_, item) => item + at),
    traceparent: at % 3 === 0 ? null : `trace ${at}`,
    label: at % 4 === 0 ? null : `label ${at % 9}`,
    degraded: at % 2 === 0,
  }))
  const byColumns = await storedBy('columns', 'days', records)
  expect(byColumns.rows).toHaveLength(300)
  expect(byColumns.rows).toEqual((await storedBy('text', 'days', records)).rows)
})

test('ClickHouse refuses two rows of a hundred: they are named, the others are stored once', async () => {
  await database.client.command('ALTER TABLE by_columns ADD COLUMN n UInt32 MATERIALIZED toUInt32(event_id)')
  const records = valuesOf(100, (at) => ({ event_id: at === 42 || at === 77 ? 'no number' : String(at) }))
  const { rows, refused } = await storedBy('columns', 'refused', records, 'event_id')
  expect(refused).toHaveLength(2)
  const stored = (rows as { event_id: string }[]).map(({ event_id }) => Number(event_id))
  expect(stored).toEqual(Array.from({ length: 100 }, (_, at) => at).filter((at) => at !== 42 && at !== 77))
})
