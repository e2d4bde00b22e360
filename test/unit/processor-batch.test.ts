import { expect, test } from 'vitest'
import type { Rejection } from '../../infra/runtime/kafka/outcome.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import { type MemoryRecord, memoryBatch } from '../support/memory-kafka.ts'
import { EVENT_SCHEMA_ID, endsOf, FLIGHTS, handled, memoryTables, processing } from '../support/processing.ts'

const flights = await loadPipeline(FLIGHTS)
const DEPARTED = Date.UTC(2013, 2, 15, 10, 20)
const HOUR = Date.UTC(2013, 2, 15, 10)

const EVENT = {
  event_id: '20130315-UA-1545-EWR-0515',
  carrier: 'AA',
  flight: 1545,
  tailnum: 'N14228',
  origin: 'EWR',
  dest: 'MIA',
  scheduled_at: Date.UTC(2013, 2, 15, 10, 15),
  departed_at: DEPARTED,
  dep_delay: 5,
  distance: 1085,
  plane_year: 1999,
  plane_seats: null,
}
const WEATHER = {
  origin: 'EWR',
  hour: HOUR,
  observed_at: HOUR,
  temp: 39.02,
  dewp: 30,
  humid: 61,
  wind_dir: 260,
  wind_speed: 12.5,
  wind_gust: null,
  precip: 0,
  pressure: 1012,
  visib: 10,
}
const KEY = `weather/${tableKeyText(['EWR', HOUR])}`

async function run(
  records: readonly MemoryRecord[],
  pipeline: CompiledPipeline = flights,
  row: object | null = WEATHER,
) {
  const tables = memoryTables(row === null ? {} : { [KEY]: { time: HOUR, record: row as Record<string, unknown> } })
  const stage = await processing(pipeline, tables)
  const batch = memoryBatch({
    topic: 'flights.events',
    partition: 3,
    offsets: records.map((_, i) => 40 + 2 * i),
    records,
  })
  const [outcome] = await handled(stage.handler, [batch], 'features')
  const ends = endsOf(outcome as NonNullable<typeof outcome>, 'features')
  return { tables, ends: ends.map((end) => (Buffer.isBuffer(end) ? stage.vector(end) : end)), outcome }
}

const { event } = await processing(flights)

test('an event becomes a vector with the features computed by hand', async () => {
  const key = Buffer.from('N14228')
  const { ends, outcome, tables } = await run([{ key, value: event(EVENT), timestamp: 1_700_000_000_000 }])
  expect(ends).toEqual([
    {
      event_id: EVENT.event_id,
      tenant: 'default',
      segment: 'EWR',
      event_time: DEPARTED,
      ingested_at: 1_700_000_000_000,
      event_schema_id: EVENT_SCHEMA_ID,
      origin_generation: 'generation',
      origin_offset: 40,
      source_generation: 'generation',
      source_offset: 40,
      feature_set: flights.featureSet.digest,
      features: [
        5,
        1085,
        1,
        0,
        expect.any(Number),
        10,
        4,
        14,
        Number.NaN,
        Math.fround(39.02),
        61,
        12.5,
        Number.NaN,
        0,
        1012,
        10,
      ],
      degraded: false,
      traceparent: null,
    },
  ])
  const [rows] = outcome?.columns.get('features') ?? []
  expect(rows === undefined ? null : sliceAt(rows.keys, 0)).toEqual(key)
  expect(rows?.subjectOf(0)).toEqual({
    tenant: 'default',
    eventId: EVENT.event_id,
    origin: { generation: 'generation', offset: 40 },
  })
  expect(tables.asked).toEqual([[KEY]])
})

test('a lookup without its row degrades the vector', async () => {
  const { ends } = await run([{ value: event(EVENT) }], flights, null)
  expect(ends[0]).toMatchObject({ degraded: true, event_id: EVENT.event_id })
})

test.each([
  ['a tombstone', null, 'not_avro', undefined],
  ['bytes of no wire format', Buffer.from('{"event_id":1}'), 'not_avro', undefined],
  ['an unknown schema', Buffer.from([0, 0, 0, 1, 0, 1]), 'unknown_schema', undefined],
  ['bytes cut off', event(EVENT).subarray(0, 30), 'undecodable', undefined],
  ['bytes too many', Buffer.concat([event(EVENT), Buffer.from([0])]), 'undecodable', undefined],
  ['an empty id', event({ ...EVENT, event_id: '' }), 'missing_id', undefined],
  ['a time before 1970', event({ ...EVENT, departed_at: -1 }), 'invalid_time', EVENT.event_id],
  ['a time in microseconds', event({ ...EVENT, departed_at: DEPARTED * 1_000 }), 'invalid_time', EVENT.event_id],
  ['a failed check', event({ ...EVENT, distance: 6_000 }), 'distance_out_of_range', EVENT.event_id],
] as const)('%s is rejected with its reason', async (_name, value, reason, eventId) => {
  const { ends } = await run([{ value: event(EVENT) }, { value }, { value: event(EVENT) }])
  expect(ends[1]).toMatchObject({ kind: 'rejected', reason, tenant: 'default' })
  expect((ends[1] as Rejection).eventId).toBe(eventId)
  expect([ends[0], ends[2]].map((end) => end !== undefined && 'event_id' in end)).toEqual([true, true])
})

test('a check that throws, or answers no yes or no, rejects the one event', async () => {
  const broken: CompiledPipeline = {
    ...flights,
    checks: [
      {
        name: 'sane',
        fields: ['distance'],
        test: (miles) => {
          if (miles === 1) throw new RangeError('one mile')
          return miles === 2 ? (Promise.resolve(false) as unknown as boolean) : true
        },
      },
    ],
  }
  const { ends } = await run(
    [1, 2, 3].map((distance) => ({ value: event({ ...EVENT, distance }) })),
    broken,
  )
  expect(ends[0]).toMatchObject({
    reason: 'step_error',
    message: expect.stringContaining('check sane threw RangeError'),
  })
  expect(ends[1]).toMatchObject({ reason: 'step_error', message: expect.stringContaining('check sane') })
  expect(ends[2]).toMatchObject({ event_id: EVENT.event_id })
})

test('the tenant is the header’s where the gateway writes the topic, and never a producer’s choice elsewhere', async () => {
  const headers = { 'millrace-tenant': Buffer.from('acme') }
  const gateway: CompiledPipeline = { ...flights, event: { ...flights.event, tenant: { from: 'header' } } }
  expect((await run([{ value: event(EVENT), headers }])).ends[0]).toMatchObject({ tenant: 'default' })
  expect((await run([{ value: event(EVENT), headers }], gateway)).ends[0]).toMatchObject({ tenant: 'acme' })
  expect((await run([{ value: null, headers }], gateway)).ends[0]).toMatchObject({ tenant: 'acme' })
})

test.each([
  ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', true],
  ['00-00000000000000000000000000000000-00f067aa0ba902b7-01', false],
  ['ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', false],
  ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n', false],
])('traceparent %j is taken over: %s', async (text, valid) => {
  const { ends } = await run([{ value: event(EVENT), headers: { traceparent: Buffer.from(text) } }])
  expect(ends[0]).toMatchObject({ traceparent: valid ? text : null })
})
