import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { fateOf } from '../../infra/runtime/errors.ts'
import { connectRedis, type RedisClient, type RedisWrite } from '../../infra/runtime/redis/redis-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { EventRecord } from '../../processors/compile/step.ts'
import { createRedisTables, type LookupCounts } from '../../processors/lookups/redis-tables.ts'
import type { FoundRows, TableKeys } from '../../processors/lookups/tables.ts'
import type { CompiledTable } from '../../schemas/pipeline/compiled.ts'
import { tableReadyKey, tableRowKeyPrefix } from '../../schemas/redis-keys.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { openTcpGate, type TcpGate } from '../support/tcp-gate.ts'

const PIPELINE = `test-${randomUUID()}`
const SCHEMA_ID = 3
const SCHEMA = {
  type: 'record',
  name: 'Row',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'value', type: ['null', 'double'], default: null },
  ],
}
const rowType = parseAvroSchema(SCHEMA, 'row')
const row = (id: string, value: number, at = 100): Buffer => rowType.encode(SCHEMA_ID, { id, at, value })

const table = (name: string, onUnavailable: CompiledTable['onUnavailable']): CompiledTable => ({
  name,
  topic: `${PIPELINE}.${name}`,
  subject: `${PIPELINE}.${name}-value`,
  schema: SCHEMA,
  keyFields: ['id'],
  timeField: 'at',
  maxAgeMs: 1_000,
  onUnavailable,
})
const DEGRADING = table('degrading', { policy: 'degrade', afterMs: 2_000 })
const PAUSING = table('pausing', { policy: 'pause' })

const direct = readConfig(CONNECTIONS, inject('stack').env).redisUrl
let gate: TcpGate
let redis: RedisClient
let admin: RedisClient
let written: string[]

beforeEach(async () => {
  const { hostname, port } = new URL(direct)
  gate = await openTcpGate({ host: hostname, port: Number(port || 6379) })
  const url = new URL(direct)
  url.hostname = '127.0.0.1'
  url.port = String(gate.port)
  redis = connectRedis({ url: url.href, commandTimeoutMs: 3_000, logger: silentLogger })
  admin = connectRedis({ url: direct, commandTimeoutMs: 5_000, logger: silentLogger })
  written = []
})

afterEach(async () => {
  if (written.length > 0) await admin.transaction(written.map((key) => ({ op: 'delete', key })))
  await redis.close()
  await admin.close()
  await gate.close()
})

async function write(writes: readonly RedisWrite[]): Promise<void> {
  written.push(...writes.map(({ key }) => key))
  await admin.transaction(writes)
}
const put = (name: string, id: string, value: Buffer): RedisWrite => ({
  op: 'set',
  key: tableRowKeyPrefix(PIPELINE, name) + id,
  value,
})
const ready = (name: string): RedisWrite => ({ op: 'set', key: tableReadyKey(PIPELINE, name), value: '1' })

function lookups(tables: readonly CompiledTable[], cacheTtlMs = 500) {
  const clock = manualClock()
  const states: string[] = []
  const counts: LookupCounts[] = []
  let roundTrips = 0
  const stage = createRedisTables({
    pipeline: PIPELINE,
    tables: tables.map((one) => ({
      table: one,
      reader: createAvroReader<EventRecord>({
        schema: SCHEMA,
        name: one.name,
        registry: memoryRegistry(new Map([[SCHEMA_ID, SCHEMA]])),
        clock,
        unknownSchemaWaitMs: 1_000,
      }),
    })),
    redis: {
      getMany(groups) {
        roundTrips += 1
        return redis.getMany(groups)
      },
    },
    clock,
    cacheMaxEntries: 100,
    cacheTtlMs,
    observer: {
      looked: (_table, found) => void counts.push(found),
      availability: (name, now) => void states.push(`${name} ${now}`),
    },
  })
  return { ...stage, clock, states, counts, roundTrips: () => roundTrips }
}

const keys = (wanted: Readonly<Record<string, readonly string[]>>): TableKeys =>
  new Map(Object.entries(wanted).map(([name, ids]) => [name, new Set(ids)]))
const columnOf = (found: FoundRows, name: string, id: string): unknown => found.row(name, id)?.record['value']

test('one round trip reads the rows of all tables, and rows that were found are not read again for a while', async () => {
  await write([ready('degrading'), ready('pausing')])
  await write([
    put('degrading', 'a', row('a', 1)),
    put('pausing', 'a', row('a', 2, 700)),
    put('pausing', 'b', row('b', 3)),
  ])
  const stage = lookups([DEGRADING, PAUSING])

  const found = await stage.fetch(keys({ degrading: ['a', 'none'], pausing: ['a', 'b'] }))
  expect([columnOf(found, 'degrading', 'a'), columnOf(found, 'pausing', 'a'), columnOf(found, 'pausing', 'b')]).toEqual(
    [1, 2, 3],
  )
  expect(found.row('degrading', 'none')).toBeNull()
  expect(found.row('pausing', 'a')?.time).toBe(700)
  expect(stage.roundTrips()).toBe(1)

  await write([put('degrading', 'none', row('none', 4)), put('degrading', 'a', row('a', 5))])
  const again = await stage.fetch(keys({ degrading: ['a', 'none'] }))
  // what was missing is asked for again at once, what was there only after its time in the cache
  expect([columnOf(again, 'degrading', 'a'), columnOf(again, 'degrading', 'none')]).toEqual([1, 4])
  expect(stage.counts.at(-1)).toEqual({ cached: 1, found: 1, absent: 0, undecodable: 0 })

  await stage.fetch(keys({ degrading: ['a', 'none'] }))
  expect(stage.roundTrips()).toBe(2)
  stage.clock.advance(500)
  expect(columnOf(await stage.fetch(keys({ degrading: ['a'] })), 'degrading', 'a')).toBe(5)
  expect(stage.roundTrips()).toBe(3)
})

test('a batch without lookups asks nothing', async () => {
  const stage = lookups([DEGRADING])
  await stage.fetch(keys({}))
  expect(stage.roundTrips()).toBe(0)
})

test('a table that is still being loaded is waited for, then done without, and read as soon as it is ready', async () => {
  await write([put('degrading', 'a', row('a', 1))])
  const stage = lookups([DEGRADING])
  const fetch = () => stage.fetch(keys({ degrading: ['a'] }))

  await expect(fetch()).rejects.toMatchObject({ fate: 'retry', code: 'table_not_ready' })
  stage.clock.advance(1_999)
  await expect(fetch()).rejects.toMatchObject({ code: 'table_not_ready' })
  stage.clock.advance(1)
  expect((await fetch()).row('degrading', 'a')).toBeNull()
  expect((await fetch()).row('degrading', 'a')).toBeNull()
  await write([ready('degrading')])
  expect(columnOf(await fetch(), 'degrading', 'a')).toBe(1)
  expect(stage.states).toEqual([
    'degrading waiting',
    'degrading waiting',
    'degrading degraded',
    'degrading degraded',
    'degrading available',
  ])
})

test('with the pause policy a table that is not loaded is waited for without end', async () => {
  const stage = lookups([PAUSING])
  stage.clock.advance(1e9)
  await expect(stage.fetch(keys({ pausing: ['a'] }))).rejects.toMatchObject({ fate: 'retry' })
  stage.clock.advance(1e9)
  await expect(stage.fetch(keys({ pausing: ['a'] }))).rejects.toMatchObject({ code: 'table_not_ready' })
})

test.each([
  ['is cut off', () => gate.shut()],
  ['no longer answers', async () => gate.stall()],
])('while Redis %s a table degrades by its policy, and is read again afterwards', async (_name, takeAway) => {
  await write([ready('degrading'), put('degrading', 'a', row('a', 1))])
  const stage = lookups([DEGRADING], 0)
  const fetch = () => stage.fetch(keys({ degrading: ['a'] }))
  expect(columnOf(await fetch(), 'degrading', 'a')).toBe(1)

  await takeAway()
  await expect(fetch()).rejects.toMatchObject({ fate: 'retry', code: 'redis_unavailable' })
  stage.clock.advance(2_000)
  expect((await fetch()).row('degrading', 'a')).toBeNull()

  await gate.shut()
  await gate.open()
  await expect.poll(async () => columnOf(await fetch(), 'degrading', 'a'), { timeout: 60_000 }).toBe(1)
  expect(stage.states.at(-1)).toBe('degrading available')
})

test('rows in the cache outlive Redis for their time', async () => {
  await write([ready('pausing'), put('pausing', 'a', row('a', 1))])
  const stage = lookups([PAUSING])
  await stage.fetch(keys({ pausing: ['a'] }))
  await gate.shut()
  expect(columnOf(await stage.fetch(keys({ pausing: ['a'] })), 'pausing', 'a')).toBe(1)
  await expect(stage.fetch(keys({ pausing: ['a', 'b'] }))).rejects.toMatchObject({ code: 'redis_unavailable' })
})

test('a row that cannot be read counts as missing; one of a schema not known yet as unavailable', async () => {
  await write([ready('degrading'), put('degrading', 'torn', row('torn', 1).subarray(0, 8))])
  const stage = lookups([DEGRADING])
  expect((await stage.fetch(keys({ degrading: ['torn'] }))).row('degrading', 'torn')).toBeNull()
  expect(stage.counts.at(-1)).toMatchObject({ undecodable: 1, absent: 0 })

  await write([put('degrading', 'new', Buffer.concat([Buffer.from([0, 0, 0, 0, 99]), row('new', 1).subarray(5)]))])
  await expect(stage.fetch(keys({ degrading: ['new'] }))).rejects.toMatchObject({
    fate: 'retry',
    code: 'unknown_schema',
  })
})

test('a transaction is done as a whole, and what Redis refuses is not tried again', async () => {
  const key = `${tableRowKeyPrefix(PIPELINE, 'degrading')}positions`
  await write([
    { op: 'hash-set', key, field: '0', value: 'generation:17' },
    { op: 'hash-set', key, field: '1', value: 'generation:3' },
  ])
  expect(await redis.getHash(key)).toEqual({ 0: 'generation:17', 1: 'generation:3' })
  expect(await redis.getHash(`${key}-none`)).toEqual({})
  const error = await redis.getMany([[key]]).then(([values]) => values?.[0] ?? null)
  // MGET answers nil for what is no string
  expect(error).toBeNull()
  await write([{ op: 'set', key, value: 'text' }])
  const refusal = await redis.getHash(key).catch((thrown: unknown) => thrown)
  expect([fateOf(refusal), (refusal as { code: string }).code]).toEqual(['crash', 'redis_error'])
  await redis.ping()
})
