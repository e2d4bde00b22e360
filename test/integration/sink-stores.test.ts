import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { type OpenOutcome, openOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { connectRedis, type RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { tableKeyText, tableRowKeyPrefix } from '../../schemas/redis-keys.ts'
import { createRowInserter } from '../../sinks/clickhouse/insert-rows.ts'
import { type LabelRecord, labelRows } from '../../sinks/clickhouse/label-rows.ts'
import { createTableSink } from '../../sinks/clickhouse/table-sink.ts'
import type { TableRecord } from '../../sinks/online/table-rows.ts'
import { createTableWriter } from '../../sinks/online/table-writer.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { manualClock } from '../support/manual-clock.ts'
import { type MemoryRecord, memoryBatch } from '../support/memory-kafka.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { openTcpGate } from '../support/tcp-gate.ts'
import { uniqueName } from '../support/unique-name.ts'

// The sinks' handlers on the real stores.

const SCHEMA_ID = 6
const connections = readConfig(CONNECTIONS, inject('stack').env)
const flights = (file: string) => JSON.parse(readFileSync(`infra/sample/flights/${file}`, 'utf8')) as AvroSchema

let database: TestDatabase
let redis: RedisClient

beforeAll(async () => {
  database = await migratedDatabase()
  redis = connectRedis({ url: connections.redisUrl, commandTimeoutMs: 5_000, logger: silentLogger })
})
afterAll(async () => {
  await redis?.close()
  await database?.drop()
})

const outcomeOf = (topic: string, records: readonly MemoryRecord[]): OpenOutcome =>
  openOutcome(memoryBatch({ topic, partition: 0, records }), [])

function readerOf<T>(schema: AvroSchema) {
  const registry = memoryRegistry(new Map([[SCHEMA_ID, schema]]))
  return createAvroReader<T>({ schema, name: 'test', registry, clock: manualClock(), unknownSchemaWaitMs: 0 })
}

function labelSink(client: Pick<TestDatabase['client'], 'insert'>, value: (record: LabelRecord) => string | boolean) {
  const label = { idField: 'event_id', timeField: 'arrived_at', value }
  const rows = labelRows({ pipeline: 'flights', label, tenant: { fixed: 'main' } })
  const inserter = createRowInserter(client, rows)
  const reader = readerOf<LabelRecord>(flights('label.avsc'))
  return createTableSink({ reader, rows, inserter, clock: manualClock(), observer: { stored: () => {} } })
}

const labelType = parseAvroSchema(flights('label.avsc'), 'label')
const label = (id: string, delay: number): MemoryRecord => ({
  timestamp: 1,
  value: labelType.encode(SCHEMA_ID, { event_id: id, arr_delay: delay, arrived_at: 0 }),
})

test('ClickHouse refuses one row of a hundred: it is unstored, the others are stored once', async () => {
  // half a surrogate pair cannot be written as UTF-8
  const sink = labelSink(database.client, (record) => (record['event_id'] === 'e42' ? '\ud800' : 'late'))
  const outcome = outcomeOf(
    'flights.labels',
    Array.from({ length: 100 }, (_, index) => label(`e${index}`, 0)),
  )
  await sink.handle([outcome])
  const { settled, rejections } = outcome.seal()
  expect(settled).toBe(100)
  expect(rejections).toMatchObject([[42, { kind: 'unstored', reason: 'unstorable', eventId: 'e42', tenant: 'main' }]])
  const [stored] = await database.client.rows<{ n: string; ids: string }>(
    "SELECT count() AS n, uniqExact(event_id) AS ids FROM labels WHERE class = 'late'",
  )
  expect(stored).toEqual({ n: '99', ids: '99' })
})

test('ClickHouse goes away and comes back: the same call is a retry, then done', async () => {
  const { hostname, port } = new URL(connections.clickhouseUrl)
  const gate = await openTcpGate({ host: hostname, port: Number(port || 8123) })
  const client = database.clientWith({ url: `http://127.0.0.1:${gate.port}` })
  const sink = labelSink(client, (record) => Number(record['arr_delay']) > 15)
  const call = () => outcomeOf('flights.labels', [label('gate-1', 3), label('gate-2', 30)])

  await gate.shut()
  await expect(sink.handle([call()])).rejects.toMatchObject({ fate: 'retry', code: 'clickhouse_unavailable' })
  await gate.open()
  const outcome = call()
  await sink.handle([outcome])
  expect(outcome.seal().settled).toBe(2)
  const rows = await database.client.rows(
    "SELECT event_id, value FROM labels FINAL WHERE event_id LIKE 'gate-%' ORDER BY event_id",
  )
  expect(rows).toEqual([
    { event_id: 'gate-1', value: 0 },
    { event_id: 'gate-2', value: 1 },
  ])
  await client.close()
  await gate.close()
})

test('table rows are in Redis as they were in Kafka; a tombstone deletes; a wrong key is unstored', async () => {
  const schema = flights('weather.avsc')
  const type = parseAvroSchema(schema, 'weather')
  const pipeline = uniqueName('flights')
  const prefix = tableRowKeyPrefix(pipeline, 'weather')
  const hour = Date.UTC(2013, 2, 15, 9)
  const value = (origin: string, temp: number): Buffer =>
    type.encode(SCHEMA_ID, {
      origin,
      hour,
      observed_at: hour,
      temp,
      dewp: null,
      humid: null,
      wind_dir: null,
      wind_speed: null,
      wind_gust: null,
      precip: null,
      pressure: null,
      visib: null,
    })
  const key = (origin: string): Buffer => Buffer.from(tableKeyText([origin, hour]))
  const wrote: number[] = []
  const writer = createTableWriter({
    pipeline,
    table: { name: 'weather', keyFields: ['origin', 'hour'] },
    reader: readerOf<TableRecord>(schema),
    redis,
    observer: { wroteTable: (_table, rows) => void wrote.push(rows) },
  })
  const outcome = outcomeOf(`${pipeline}.weather`, [
    { key: key('EWR'), value: value('EWR', 40) },
    { key: key('JFK'), value: value('JFK', 41) },
    { key: key('EWR'), value: value('EWR', 42) },
    { key: key('LGA'), value: value('JFK', 43) },
    { key: key('JFK'), value: null },
  ])
  await writer.handle([outcome])
  expect(outcome.seal().rejections).toMatchObject([
    [3, { kind: 'unstored', reason: 'table_key_mismatch', origin: null }],
  ])
  expect(wrote).toEqual([4])
  const [rows] = await redis.getMany([['EWR', 'JFK', 'LGA'].map((origin) => prefix + key(origin).toString())])
  expect(rows).toEqual([value('EWR', 42), null, null])
})
