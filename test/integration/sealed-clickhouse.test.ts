import { afterAll, beforeEach, expect, inject, onTestFinished, test } from 'vitest'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { deadLetterRows } from '../../sinks/clickhouse/dead-letter-rows.ts'
import { labelRows } from '../../sinks/clickhouse/label-rows.ts'
import { predictionRows } from '../../sinks/clickhouse/prediction-rows.ts'
import { checkDeduplicationWindows } from '../../sinks/clickhouse/sealed/check-windows.ts'
import { partOf, pendOf } from '../../sinks/clickhouse/sealed/chunk.ts'
import { chunkToken, laneName } from '../../sinks/clickhouse/sealed/land-chunk.ts'
import type { SealedStore } from '../../sinks/clickhouse/sealed/sealed-store.ts'
import { stageMetricsRows } from '../../sinks/clickhouse/stage-metrics-rows.ts'
import { emptyDatabase, migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { eventually } from '../support/eventually.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { land, marksChunk, marksDdl, marksOf, marksStore } from '../support/sealed-table.ts'

// What the sealed-batch protocol counts on, on the real engine. Rows are counted without FINAL: a second copy fails a test.

const { clickhouseUrl } = readConfig(CONNECTIONS, inject('stack').env)
const LANE = laneName('marks', 'id', 0)
let database: TestDatabase
let store: SealedStore
const databases: TestDatabase[] = []

async function createTable(ddl: string): Promise<void> {
  database = await emptyDatabase()
  databases.push(database)
  await database.client.command(ddl)
  store = marksStore(database.client, database.name)
}
beforeEach(() => createTable(marksDdl()))
afterAll(async () => {
  for (const each of databases) await each.drop()
})

test('the types that values are checked by are those of the columns', async () => {
  const migrated = await migratedDatabase()
  databases.push(migrated)
  const label = { idField: 'id', timeField: 'at', value: () => true, withdrawable: true }
  const kinds = [
    predictionRows('p'),
    labelRows({ pipeline: 'p', label, tenant: { fixed: 'main' } }),
    deadLetterRows,
    stageMetricsRows('p'),
  ]
  for (const { table, types } of kinds) {
    const columns = await migrated.client.rows<{ name: string; type: string; isFilled: boolean }>(
      `SELECT name, type, default_kind != '' AS isFilled FROM system.columns
       WHERE database = currentDatabase() AND table = {table:String}`,
      { table },
    )
    // a column that came later has a default for the rows before it, and is written like the others
    const written = columns.filter(({ name, isFilled }) => name in types || !isFilled)
    expect(Object.fromEntries(written.map(({ name, type }) => [name, type])), table).toEqual(types)
    await checkDeduplicationWindows(migrated.client, migrated.name, table)
  }
})

test('a table without a deduplication window is refused, and one behind a view too, with the statement that mends it', async () => {
  const { client, name } = database
  await checkDeduplicationWindows(client, name, 'marks')
  await client.command('CREATE TABLE hours (hour DateTime, n UInt64) ENGINE = SummingMergeTree ORDER BY hour')
  await client.command(
    'CREATE MATERIALIZED VIEW by_hour TO hours AS SELECT toStartOfHour(written_at) AS hour, count() AS n FROM marks GROUP BY hour',
  )
  const refused = { code: 'deduplication_window', fate: 'crash' }
  await expect(checkDeduplicationWindows(client, name, 'marks')).rejects.toMatchObject(refused)
  await expect(checkDeduplicationWindows(client, name, 'marks')).rejects.toThrow(
    `ALTER TABLE ${name}.hours MODIFY SETTING non_replicated_deduplication_window = 10000`,
  )
  await client.command('ALTER TABLE hours MODIFY SETTING non_replicated_deduplication_window = 10000')
  await checkDeduplicationWindows(client, name, 'marks')
  await client.command('ALTER TABLE marks RESET SETTING non_replicated_deduplication_window')
  await expect(checkDeduplicationWindows(client, name, 'marks')).rejects.toMatchObject(refused)
  await expect(checkDeduplicationWindows(client, name, 'nothing')).rejects.toMatchObject({ code: 'unknown_table' })
})

test('the answer of an insert is lost: the chunk is read back and not sent again', async () => {
  const proxy = await startFaultProxy({ target: { port: Number(new URL(clickhouseUrl).port) } })
  onTestFinished(() => proxy.close())
  const client = database.clientWith({ url: `http://127.0.0.1:${proxy.port}`, requestTimeoutMs: 5_000 })
  onTestFinished(() => client.close())
  await client.ping()
  proxy.inject({ kind: 'drop', direction: 'toClient' })
  const errors: unknown[] = []
  const landed = await land(marksStore(client, database.name), marksChunk(0, 100), {
    async again(error) {
      errors.push(error)
      proxy.heal()
    },
  })
  expect(errors).toMatchObject([{ code: 'clickhouse_unavailable' }])
  expect(landed.stored.size).toBe(100)
  expect(await marksOf(database.client)).toEqual({ rows: 100, offsets: 100 })
})

test('ClickHouse is away, and comes back', async () => {
  const proxy = await startFaultProxy({ target: { port: Number(new URL(clickhouseUrl).port) } })
  onTestFinished(() => proxy.close())
  const client = database.clientWith({ url: `http://127.0.0.1:${proxy.port}`, requestTimeoutMs: 30_000 })
  onTestFinished(() => client.close())
  proxy.inject({ kind: 'reset', direction: 'toServer', afterBytes: 0 })
  let tries = 0
  await land(marksStore(client, database.name), marksChunk(0, 10), {
    async again() {
      tries += 1
      if (tries === 3) proxy.heal()
    },
  })
  expect(tries).toBe(3)
  expect(await marksOf(database.client)).toEqual({ rows: 10, offsets: 10 })
})

test('an insert that still runs at the take-over is ended, and the chunk lands once', async () => {
  // as long as a block may sleep
  await createTable(marksDdl(700))
  const chunk = marksChunk(0, 4)
  const token = chunkToken(LANE, pendOf(chunk))
  const zombie = store.insert(chunk.body, { lane: LANE, token }).then(
    () => 'answered',
    (error: { message: string }) => error.message,
  )
  const running = `SELECT count() AS n FROM system.processes WHERE query LIKE 'INSERT INTO marks%'`
  await eventually(async () => expect(await database.client.rows(running)).toEqual([{ n: '1' }]), {
    deadlineMs: 30_000,
  })
  await land(store, chunk, { takenOver: true })
  expect(await zombie).toContain('394')
  expect(await marksOf(database.client)).toEqual({ rows: 4, offsets: 4 })
})

test('an insert that nobody can end, and lands after all, is the same as the one that was sent again', async () => {
  await createTable(marksDdl(300))
  const chunk = marksChunk(0, 4)
  const zombie = store.insert(chunk.body, { lane: LANE, token: chunkToken(LANE, pendOf(chunk)) })
  await land({ ...store, endInserts: async () => {} }, chunk, { takenOver: true })
  await zombie
  expect(await marksOf(database.client)).toEqual({ rows: 4, offsets: 4 })
})

test('a token that is known although its rows are not there: another attempt, announced first', async () => {
  const chunk = marksChunk(0, 50)
  // the token wins over the rows, so any others under it leave the table as a killed server may
  const others = marksChunk(1_000, 1_001)
  await store.insert(others.body, { lane: LANE, token: chunkToken(LANE, pendOf(chunk)) })
  const landed = await land(store, chunk, { takenOver: true })
  expect(landed.attempts).toBe(1)
  expect(await marksOf(database.client)).toEqual({ rows: 51, offsets: 51 })
})

test('partly there: what is missing is inserted, and nothing else', async () => {
  const chunk = marksChunk(0, 64)
  const there = [...chunk.offsets.keys()].filter((row) => row % 5 !== 0)
  await store.insert(partOf(chunk, there), { lane: LANE, token: 'other' })
  await land(store, chunk, { takenOver: true })
  expect(await marksOf(database.client)).toEqual({ rows: 64, offsets: 64 })
})

test('what was announced by other code: the table decides', async () => {
  const chunk = marksChunk(0, 20)
  const before = marksChunk(0, 20, (offset) => `old ${offset}`)
  await store.insert(partOf(before, [...before.offsets.keys()].slice(0, 15)), {
    lane: LANE,
    token: chunkToken(LANE, pendOf(before)),
  })
  await land(store, chunk, { takenOver: true, pend: pendOf(before) })
  expect(await marksOf(database.client)).toEqual({ rows: 20, offsets: 20 })
})

test('ClickHouse refuses two rows of a hundred: they are named, the others are stored once', async () => {
  // half a surrogate pair cannot be written as UTF-8
  const chunk = marksChunk(0, 100, (offset) => (offset === 42 || offset === 77 ? '\ud800' : String(offset)))
  const { refused } = await land(store, chunk)
  expect([...refused.keys()]).toEqual([42, 77])
  expect(await marksOf(database.client)).toEqual({ rows: 98, offsets: 98 })
  // the next owner comes to the same end, and sends nothing twice
  const again = await land(store, chunk, { takenOver: true })
  expect([...again.refused.keys()]).toEqual([42, 77])
  expect(await marksOf(database.client)).toEqual({ rows: 98, offsets: 98 })
})

test('a view behind the table refuses what the table takes: each row is stored once', async () => {
  await database.client.command('CREATE TABLE numbers (n UInt8) ENGINE = MergeTree ORDER BY n')
  await database.client.command('CREATE MATERIALIZED VIEW number TO numbers AS SELECT toUInt8(text) AS n FROM marks')
  const chunk = marksChunk(0, 20, (offset) => (offset === 7 ? 'seven' : String(offset)))
  const { refused } = await land(store, chunk)
  const { rows, offsets } = await marksOf(database.client)
  expect([rows, offsets + refused.size]).toEqual([offsets, 20])
})

test('up to where rows of a partition are there is told, and of no other partition', async () => {
  expect(await store.storedBelow('id', 0)).toBe(0)
  await land(store, marksChunk(3, 9))
  expect([
    await store.storedBelow('id', 0),
    await store.storedBelow('id', 1),
    await store.storedBelow('other', 0),
  ]).toEqual([9, 0, 0])
})

test('50,000 rows of one chunk are one block, stored as a whole', async () => {
  await land(store, marksChunk(0, 50_000))
  const parts = await database.client.rows(
    `SELECT count() AS parts, sum(max_block_number - min_block_number) AS merged FROM system.parts
     WHERE database = currentDatabase() AND table = 'marks' AND active`,
  )
  expect(parts).toEqual([{ parts: '1', merged: '0' }])
  expect(await marksOf(database.client)).toEqual({ rows: 50_000, offsets: 50_000 })
})
