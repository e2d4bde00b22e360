import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import { manualClock } from '../support/manual-clock.ts'
import { type MemoryRecord, memoryBatch } from '../support/memory-kafka.ts'
import { endsOf, FLIGHTS, handled, memoryTables, processing } from '../support/processing.ts'
import { scoring } from '../support/scoring.ts'

const pipeline = await loadPipeline(FLIGHTS)
const HOUR = Date.UTC(2013, 2, 15, 10)
const weather = {
  origin: 'EWR',
  hour: HOUR,
  temp: 39.02,
  humid: 61,
  wind_speed: 1,
  precip: 0,
  pressure: null,
  visib: 9,
}
const tables = memoryTables({ [`weather/${tableKeyText(['EWR', HOUR])}`]: { time: HOUR, record: weather } })
const processors = await processing(pipeline, tables)
const inference = await scoring(pipeline, { clock: manualClock(1_700_000_000_000), keep: true, maxRows: 5 })
const fused = inference.fused(processors.vectorsOf)
afterAll(() => inference.release())

const event = fc
  .record({
    event_id: fc.string({ maxLength: 8, unit: 'grapheme' }),
    carrier: fc.constantFrom('AA', 'UA', 'ZZ'),
    flight: fc.integer(),
    tailnum: fc.option(fc.string({ maxLength: 4 })),
    origin: fc.constantFrom('EWR', 'JFK', 'Köln'),
    dest: fc.constantFrom('MIA', 'LAX', ''),
    scheduled_at: fc.integer({ min: HOUR, max: HOUR + 9_000_000 }),
    departed_at: fc.integer({ min: HOUR - 1_000, max: HOUR + 9_000_000 }),
    dep_delay: fc.integer({ min: -30, max: 300 }),
    distance: fc.integer({ min: -10, max: 6_100 }),
    plane_year: fc.option(fc.integer({ min: 1950, max: 2013 })),
    plane_seats: fc.option(fc.nat(400)),
  })
  .map((record) => processors.event(record))
const cut = fc.tuple(event, fc.nat(60)).map(([whole, length]) => whole.subarray(0, length))
const record = fc.record({
  value: fc.oneof({ weight: 8, arbitrary: event }, { weight: 1, arbitrary: cut }),
  timestamp: fc.integer({ min: 0, max: 2 ** 41 }),
  headers: fc.constantFrom({}, { traceparent: Buffer.from('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01') }),
})

const eventsOf = (records: readonly MemoryRecord[], partition: number) =>
  memoryBatch({
    topic: 'flights.events',
    partition,
    records: records.map((one, at) => ({ ...one, key: Buffer.from(`key-${at}`) })),
    offsets: records.map((_, at) => 7 + 2 * at),
    generation: 'events-generation',
  })

/** Through the features topic: the second stage reads what the first has emitted. */
async function inTwoStages(batches: readonly ReturnType<typeof memoryBatch>[]) {
  const first = await handled(processors.handler, batches, 'features')
  const features = first.map(({ batch, columns }, partition) => {
    const [rows] = columns.get('features') ?? []
    const records = Array.from({ length: rows?.length ?? 0 }, (_, row) => ({
      key: rows === undefined ? null : sliceAt(rows.keys, row),
      value: rows === undefined ? null : sliceAt(rows.values, row),
    }))
    const topic = 'flights.features'
    return { sources: rows?.sources, batch, features: memoryBatch({ topic, partition, records, generation: 'f' }) }
  })
  const second = await handled(
    inference.handler,
    features.map((one) => one.features),
    'predictions',
  )
  return first.map((outcome, partition) => {
    const ends: unknown[] = endsOf(outcome, 'features').map((end) => (Buffer.isBuffer(end) ? null : end))
    const sources = features[partition]?.sources ?? []
    const scored = second[partition]
    if (scored !== undefined) {
      for (const [row, end] of endsOf(scored, 'predictions').entries()) ends[sources[row] as number] = readable(end)
    }
    return { ends, keys: keysOf(scored) }
  })
}

async function inOne(batches: readonly ReturnType<typeof memoryBatch>[]) {
  const outcomes = await handled(fused, batches, 'predictions')
  return outcomes.map((outcome) => ({ ends: endsOf(outcome, 'predictions').map(readable), keys: keysOf(outcome) }))
}

function keysOf(outcome: Awaited<ReturnType<typeof handled>>[number] | undefined) {
  const [rows] = outcome?.columns.get('predictions') ?? []
  return rows === undefined ? [] : Array.from({ length: rows.length }, (_, row) => sliceAt(rows.keys, row)?.toString())
}

/** Without what differs by its nature: the source is the events topic when there is no other, and batches are others. */
function readable(end: unknown): unknown {
  if (!Buffer.isBuffer(end)) return end
  return { ...inference.prediction(end), source_generation: '', source_offset: 0, batch_rows: 0 }
}

test('fused or by way of the features topic, an event ends the same', async () => {
  const records = fc.array(record, { maxLength: 9 })
  await fc.assert(
    fc.asyncProperty(records, records, async (some, others) => {
      const batches = [eventsOf(some, 0), eventsOf(others, 1)]
      expect(await inOne(batches)).toEqual(await inTwoStages(batches))
    }),
    { numRuns: 150 },
  )
})
