import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { fateOf, MillraceError } from '../../infra/runtime/errors.ts'
import { emptyDatabase, type TestDatabase } from '../support/clickhouse-database.ts'

// The stages' client against the real engine: what survives the way, and which fate each failure has.

let database: TestDatabase

beforeAll(async () => {
  database = await emptyDatabase()
})
afterAll(() => database?.drop())
beforeEach(async () => {
  await database.client.command('DROP TABLE IF EXISTS t')
  await database.client.command(`CREATE TABLE t (id UInt64, x Array(Float32), y Float64, at DateTime64(3, 'UTC'))
    ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 100`)
})

const COLUMNS = ['id', 'x', 'y', 'at']
const SILENCE = `Basic ${Buffer.from('silence:').toString('base64')}`
const row = (id: number) => ({ id, x: [1], y: 2, at: 0 })

async function failureOf(work: Promise<unknown>): Promise<{ fate: string; code: string }> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  return { fate: fateOf(error), code: error instanceof MillraceError ? error.code : String(error) }
}

test('numbers that are not finite, large integers and times survive both ways', async () => {
  const at = Date.UTC(2013, 2, 15, 9, 30, 0, 123)
  const sent = { id: Number.MAX_SAFE_INTEGER, x: [Number.NaN, Number.POSITIVE_INFINITY, Math.fround(0.1)], y: -0.5, at }
  await database.client.insert('t', COLUMNS, [sent])
  const [stored] = await database.client.rows<Record<string, unknown>>(
    'SELECT id, x, y, at, x[3] = toFloat32(0.1) AS exact, count() OVER () AS n FROM t WHERE id = {id:UInt64}',
    { id: Number.MAX_SAFE_INTEGER },
  )
  expect(stored).toEqual({
    id: '9007199254740991',
    x: ['nan', 'inf', 0.1],
    y: -0.5,
    at: '2013-03-15 09:30:00.123',
    exact: 1,
    n: '1',
  })
})

test('the same rows twice are two inserts, unless a token says that they are one', async () => {
  const count = async () => (await database.client.rows<{ n: string }>('SELECT count() AS n FROM t'))[0]?.n
  await database.client.insert('t', COLUMNS, [row(1)])
  await database.client.insert('t', COLUMNS, [row(1)])
  expect(await count()).toBe('2')
  await database.client.insert('t', COLUMNS, [row(2)], { token: 'a' })
  await database.client.insert('t', COLUMNS, [row(2)], { token: 'a' })
  expect(await count()).toBe('3')
})

test('a row that does not fit is refused, and all others of its insert with it', async () => {
  const refused = { fate: 'reject', code: 'clickhouse_refused_rows' }
  for (const bad of [
    { ...row(2), id: -1 },
    { ...row(2), y: 'no number' },
    { ...row(2), id: 'no number' },
    { ...row(2), at: 1.5 },
  ]) {
    expect(await failureOf(database.client.insert('t', COLUMNS, [row(1), bad])), JSON.stringify(bad)).toEqual(refused)
  }
  expect(await database.client.rows('SELECT * FROM t')).toEqual([])
})

test('a wrong table, column, statement, user or database crashes', async () => {
  const refused = { fate: 'crash', code: 'clickhouse_refused' }
  const unknown = { fate: 'crash', code: 'clickhouse_unknown_table' }
  expect(await failureOf(database.client.insert('nowhere', ['id'], [{ id: 1 }]))).toEqual(unknown)
  expect(await failureOf(database.client.rows('SELECT * FROM nowhere'))).toEqual(unknown)
  expect(await failureOf(database.client.insert('t', ['id', 'nothing'], [{ id: 1, nothing: 1 }]))).toEqual(refused)
  expect(await failureOf(database.client.command('SELEC 1'))).toEqual(refused)
  const stranger = database.clientWith({ user: 'stranger' })
  expect(await failureOf(stranger.ping())).toEqual(refused)
  await stranger.close()
  const elsewhere = database.clientWith({ database: 'no_such_database' })
  expect(await failureOf(elsewhere.ping())).toEqual({ fate: 'crash', code: 'clickhouse_unknown_database' })
  await elsewhere.close()
})

test('no server, a silent one and a proxy that has none behind it are tried again', async () => {
  const proxy = createServer((request, response) => {
    request.resume()
    if (request.headers.authorization === SILENCE) return
    response.writeHead(502, { 'content-type': 'text/html' }).end('<html>Bad Gateway</html>')
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  const unavailable = { fate: 'retry', code: 'clickhouse_unavailable' }
  const clients = [
    database.clientWith({ url: 'http://127.0.0.1:1' }),
    database.clientWith({ url }),
    database.clientWith({ url, user: 'silence', requestTimeoutMs: 100 }),
  ]
  for (const client of clients) {
    expect(await failureOf(client.insert('t', COLUMNS, [row(1)]))).toEqual(unavailable)
    expect(await failureOf(client.ping())).toEqual(unavailable)
    await client.close()
  }
  proxy.closeAllConnections()
  await new Promise((resolve) => proxy.close(resolve))
})

test('a server that is too busy is tried again', async () => {
  await database.client.command('SYSTEM STOP MERGES t')
  await database.client.command('ALTER TABLE t MODIFY SETTING parts_to_throw_insert = 2, parts_to_delay_insert = 1')
  const inserts = async (): Promise<void> => {
    for (let id = 0; id < 5; id++) await database.client.insert('t', COLUMNS, [row(id)])
  }
  expect(await failureOf(inserts())).toEqual({ fate: 'retry', code: 'clickhouse_unavailable' })
})
