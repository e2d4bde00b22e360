import path from 'node:path'
import { expect, inject, test } from 'vitest'
import { commandConnections } from '../../infra/cli/connections.ts'
import { parseAvroSchema, readAvroFile } from '../../infra/runtime/avro/avro-type.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { type RawRecord, writeRawRecords } from '../support/raw-records.ts'
import { runPipeline } from '../support/running-pipeline.ts'

const LANES = 4
const UNKNOWN_SCHEMA = 2_000_000_000

test('what cannot be scored becomes a dead letter with its bytes and coordinates, and its neighbours are predicted', {
  timeout: 600_000,
}, async () => {
  const env = { ...inject('stack').env, MILLRACE_UNKNOWN_SCHEMA_WAIT_MS: '500' }
  const { name, folder } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env)
  const { event } = run.pipeline
  const schemaId = await commandConnections({ ...process.env, ...env }).registry.register(event.subject, event.schema)
  const type = parseAvroSchema(event.schema, 'flights')
  const flights = (await flightsOfTheSample(60)) as readonly Readonly<Record<string, unknown>>[]
  const value = (change: object, at: number): Buffer => type.encode(schemaId, { ...flights[at], ...change })
  const whole = value({}, 0)

  const bad: readonly { readonly value: Buffer | null; readonly reason: string; readonly says: RegExp }[] = [
    { value: Buffer.from([0xff, 0xfe, 0x00, 0x80, 0x0a]), reason: 'not_avro', says: /wire format/ },
    { value: Buffer.alloc(0), reason: 'not_avro', says: /wire format/ },
    { value: null, reason: 'not_avro', says: /wire format/ },
    { value: withSchemaId(whole, UNKNOWN_SCHEMA), reason: 'unknown_schema', says: /schema 2000000000/ },
    { value: whole.subarray(0, whole.length - 10), reason: 'undecodable', says: /./ },
    { value: Buffer.concat([whole, Buffer.from('x')]), reason: 'undecodable', says: /1 bytes follow/ },
    { value: value({ distance: 0 }, 1), reason: 'distance_out_of_range', says: /distance/ },
    { value: value({ event_id: '' }, 2), reason: 'missing_id', says: /event_id/ },
  ]
  // each bad record between good ones, in every lane
  const records: (RawRecord & { readonly bad?: (typeof bad)[number] })[] = []
  for (const [at] of flights.entries()) {
    const partition = at % LANES
    records.push({ partition, key: `good-${at}`, value: value({ event_id: `good-${at}` }, at) })
    const culprit = bad[Math.floor(at / LANES)]
    if (culprit === undefined) continue
    records.push({ partition, key: `bad-${at}`, value: culprit.value, headers: { from: 'upstream' }, bad: culprit })
  }
  const offsets = await writeRawRecords(env, event.topic, records)

  const account = await run.settled(records.length, 180_000)
  expect(account).toMatchObject({ predicted: flights.length, duplicates: 0 })

  interface Stored {
    readonly stage: string
    readonly topic: string
    readonly reason: string
    readonly message: string
    readonly partition: number
    readonly source_offset: string
    readonly origin_offset: string
    readonly schema_id: number | null
    readonly key: string
    readonly value: string
    readonly from: string
    readonly kind: string
  }
  const stored = await run.clickhouse.rows<Stored>(
    `SELECT stage, topic, kind, reason, message, partition, source_offset, origin_offset, schema_id, key,
            hex(value) AS value, headers['from'] AS from
     FROM dead_letters FINAL WHERE pipeline = {name:String} ORDER BY key`,
    { name },
  )
  const expected = records
    .flatMap((record, at) => (record.bad === undefined ? [] : [{ ...record, offset: offsets[at], bad: record.bad }]))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
  expect(stored.map(({ message, schema_id, ...row }) => row)).toEqual(
    expected.map(({ bad: { reason, value: bytes }, partition, key, offset }) => ({
      stage: 'processors',
      topic: event.topic,
      kind: 'rejected',
      reason,
      partition,
      source_offset: String(offset),
      origin_offset: String(offset),
      key,
      value: (bytes ?? Buffer.alloc(0)).toString('hex').toUpperCase(),
      from: 'upstream',
    })),
  )
  for (const [at, { message, schema_id, reason }] of stored.entries()) {
    expect(message).toMatch(expected[at]?.bad.says ?? /^$/)
    const id = reason === 'not_avro' ? null : reason === 'unknown_schema' ? UNKNOWN_SCHEMA : schemaId
    expect(schema_id, message).toBe(id)
  }

  const predicted = await run.clickhouse.rows<{ event_id: string }>(
    'SELECT event_id FROM predictions FINAL WHERE pipeline = {name:String}',
    { name },
  )
  expect(predicted.map(({ event_id }) => event_id).sort()).toEqual(flights.map((_, at) => `good-${at}`).sort())
})

async function flightsOfTheSample(count: number): Promise<readonly unknown[]> {
  const flights: unknown[] = []
  for await (const flight of readAvroFile(path.join(FLIGHTS, 'data/events.avro'))) {
    flights.push(flight)
    if (flights.length === count) break
  }
  return flights
}

function withSchemaId(value: Buffer, schemaId: number): Buffer {
  const copy = Buffer.from(value)
  copy.writeInt32BE(schemaId, 1)
  return copy
}
