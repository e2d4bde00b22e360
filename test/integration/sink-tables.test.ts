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
import type { TableRecord } from '../../sinks/online/table-rows.ts'
import { createTableWriter } from '../../sinks/online/table-writer.ts'
import { manualClock } from '../support/manual-clock.ts'
import { type MemoryRecord, memoryBatch } from '../support/memory-kafka.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { uniqueName } from '../support/unique-name.ts'

// The handler of lookup tables on the real Redis.

const SCHEMA_ID = 6
const connections = readConfig(CONNECTIONS, inject('stack').env)
const flights = (file: string) => JSON.parse(readFileSync(`infra/sample/flights/${file}`, 'utf8')) as AvroSchema

let redis: RedisClient

beforeAll(async () => {
  redis = connectRedis({ url: connections.redisUrl, commandTimeoutMs: 5_000, logger: silentLogger })
})
afterAll(async () => {
  await redis?.close()
})

const outcomeOf = (topic: string, records: readonly MemoryRecord[]): OpenOutcome =>
  openOutcome(memoryBatch({ topic, partition: 0, records }), [])

function readerOf<T>(schema: AvroSchema) {
  const registry = memoryRegistry(new Map([[SCHEMA_ID, schema]]))
  return createAvroReader<T>({ schema, name: 'test', registry, clock: manualClock(), unknownSchemaWaitMs: 0 })
}

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
