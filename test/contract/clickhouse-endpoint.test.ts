import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { type ClickHouseClient, ClickHouseError, ClickHouseLogLevel, createClient } from '@clickhouse/client'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type EndpointProcess, startEndpointProcess } from './clickhouse-endpoint-process.ts'

// The local stack's ClickHouse through the unmodified client that the stages use: it must not be able to tell.

const SOON = { timeout: 60_000 }

let folder: string
let endpoint: EndpointProcess
let client: ClickHouseClient

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-clickhouse-'))
  endpoint = await startEndpointProcess(folder)
  client = createClient({ url: endpoint.url, log: { level: ClickHouseLogLevel.OFF } })
})

afterAll(async () => {
  await client?.close()
  expect(await endpoint?.stop()).toBe(0)
  await rm(folder, { recursive: true, force: true })
})

beforeEach(async () => {
  await client.command({ query: 'DROP TABLE IF EXISTS t' })
  await client.command({
    query: `CREATE TABLE t (id UInt64, s String) ENGINE = MergeTree ORDER BY id
      SETTINGS non_replicated_deduplication_window = 100`,
  })
})

async function rows<T>(query: string, parameters: Record<string, unknown> = {}): Promise<T[]> {
  const result = await client.query({ query, query_params: parameters, format: 'JSONEachRow' })
  return result.json<T>()
}

const count = async (): Promise<number> => (await rows<{ n: number }>('SELECT count() AS n FROM t'))[0]?.n ?? Number.NaN

test('answers ping and statements without a result', async () => {
  expect(await client.ping()).toEqual({ success: true })
  expect(await client.ping({ select: true })).toEqual({ success: true })
  const { query_id: id } = await client.command({ query: 'SELECT 1', query_id: 'mine' })
  expect(id).toBe('mine')
})

test('inserts objects and streams of them', async () => {
  const { summary } = await client.insert({ table: 't', values: [{ id: 1, s: 'a' }], format: 'JSONEachRow' })
  expect(summary?.written_rows).toBe('1')
  const many = Readable.from(Array.from({ length: 5000 }, (_, id) => ({ id: id + 2, s: 'b' })))
  await client.insert({ table: 't', values: many, format: 'JSONEachRow' })
  expect(await count()).toBe(5001)
})

test('keeps data apart from SQL: empty lines, quotes, what looks like a statement', async () => {
  const texts = ['one\n\ntwo', '\n\nDROP TABLE t;\n\n', 'it\'s \\ "quoted" `so`', '', '\u0000 zero', "'; SELECT 1 --"]
  const values = texts.map((s, id) => ({ id, s }))
  await client.insert({ table: 't', values, format: 'JSONEachRow' })
  expect((await rows<{ s: string }>('SELECT s FROM t ORDER BY id')).map(({ s }) => s)).toEqual(texts)

  const tsv = Readable.from(['1\tx\n', '\n\nDROP TABLE t\n'], { objectMode: false })
  await expect(client.insert({ table: 't', values: tsv, format: 'TabSeparated' })).rejects.toThrow(ClickHouseError)
  expect(await count()).toBe(texts.length)
})

test('takes RowBinary and Native through exec, with empty lines among the bytes', async () => {
  // RowBinary of (UInt64, String): 0x0A0A as an id, as a length and within the text
  const id = Buffer.alloc(8)
  id.writeUInt32LE(0x0a0a0a0a)
  const binary = Buffer.concat([id, Buffer.from([10]), Buffer.from('\n\n01234567')])
  const insert = await client.exec({ query: 'INSERT INTO t FORMAT RowBinary', values: Readable.from([binary]) })
  await insert.stream.resume().toArray()
  expect(await rows('SELECT id, s FROM t')).toEqual([{ id: 0x0a0a0a0a, s: '\n\n01234567' }])

  const read = await client.exec({ query: 'SELECT id + 1 AS id, s FROM t FORMAT Native' })
  const native = Buffer.concat(await read.stream.toArray())
  const again = await client.exec({ query: 'INSERT INTO t FORMAT Native', values: Readable.from([native]) })
  await again.stream.resume().toArray()
  expect(await count()).toBe(2)
})

test('inserts nothing when the body breaks off', async () => {
  const broken = Readable.from(
    (async function* () {
      yield { id: 1, s: 'x' }
      throw new Error('producer died')
    })(),
  )
  await expect(client.insert({ table: 't', values: broken, format: 'JSONEachRow' })).rejects.toThrow()
  expect(await count()).toBe(0)
})

test('takes inline data, values and inserts from a select as statements', async () => {
  await client.command({ query: "INSERT INTO t VALUES (1, 'a;\n\nb'), (2, upper('c'))" })
  await client.command({ query: 'INSERT INTO t (id, s) FORMAT JSONEachRow {"id":3,"s":"d"}' })
  await client.command({ query: 'INSERT INTO t SELECT id + 10, s FROM t' })
  expect(await rows('SELECT s FROM t WHERE id < 10 ORDER BY id')).toEqual([{ s: 'a;\n\nb' }, { s: 'C' }, { s: 'd' }])
  expect(await count()).toBe(6)
})

test('binds query parameters of all kinds', async () => {
  const values = { n: 7, s: "tab\there, quote ' and \\ slash\nline", list: ['a', "b'c"], none: null, at: new Date(0) }
  const query = `SELECT {n:UInt8} AS n, {s:String} AS s, {list:Array(String)} AS list, {none:Nullable(String)} AS none,
    toUnixTimestamp({at:DateTime}) AS at`
  expect(await rows(query, values)).toEqual([{ ...values, at: 0 }])
})

test('compresses both ways with gzip', async () => {
  const compressing = createClient({
    url: endpoint.url,
    log: { level: ClickHouseLogLevel.OFF },
    compression: { request: true, response: true },
  })
  try {
    const values = Array.from({ length: 1000 }, (_, id) => ({ id, s: `\n\n${id}` }))
    await compressing.insert({ table: 't', values, format: 'JSONEachRow' })
    for (const format of ['JSONEachRow', 'JSON'] as const) {
      const result = await compressing.query({ query: 'SELECT s FROM t ORDER BY id', format })
      const answer: unknown = await result.json()
      expect(JSON.stringify(answer)).toContain('\\n\\n999')
    }
  } finally {
    await compressing.close()
  }
})

test('streams a result while it is produced', async () => {
  const result = await client.query({
    query: 'SELECT number, sleepEachRow(0.05) FROM system.numbers LIMIT 1000 SETTINGS max_block_size = 1',
    format: 'JSONEachRow',
  })
  let seen = 0
  for await (const part of result.stream()) {
    seen += part.length
    break
  }
  result.close()
  expect(seen).toBeLessThan(1_000)
})

test('delivers a large result whole, in blocks, through back-pressure', async () => {
  const result = await client.query({ query: 'SELECT number FROM numbers(2000000)', format: 'JSONEachRow' })
  let [seen, parts] = [0, 0]
  for await (const part of result.stream()) {
    seen += part.length
    parts += 1
  }
  expect(seen).toBe(2_000_000)
  expect(parts).toBeGreaterThan(10)
})

test('reports an error behind the first rows', async () => {
  const result = await client.query({
    query: 'SELECT throwIf(number = 5) FROM numbers(10) SETTINGS max_block_size = 1',
    format: 'JSONEachRow',
  })
  await expect(result.json()).rejects.toMatchObject({ code: '395', type: 'FUNCTION_THROW_IF_VALUE_IS_NON_ZERO' })
})

test('stops a query whose client went away', async () => {
  const controller = new AbortController()
  const query = 'SELECT sleepEachRow(1) FROM numbers(600) SETTINGS max_block_size = 1 FORMAT JSON'
  const running = client.exec({ query, query_id: 'abandoned', abort_signal: controller.signal })
  const others = "SELECT count() AS n FROM system.processes WHERE Settings['log_comment'] = 'abandoned'"
  await expect.poll(() => rows(others), SOON).toEqual([{ n: 1 }])
  controller.abort()
  await expect(running).rejects.toThrow()
  await expect.poll(() => rows(others), SOON).toEqual([{ n: 0 }])
})

test('kills a query by the id its client gave it', async () => {
  const query = 'SELECT sleepEachRow(1) FROM numbers(600) SETTINGS max_block_size = 1 FORMAT JSON'
  const failed = expect(client.exec({ query, query_id: 'lane/3/1' })).rejects.toMatchObject({ code: '394' })
  await expect
    .poll(() => rows("SELECT 1 AS x FROM system.processes WHERE Settings['log_comment'] = 'lane/3/1'"), SOON)
    .toHaveLength(1)
  await client.command({ query: "KILL QUERY WHERE startsWith(query_id, 'lane/3/') SYNC" })
  await failed
})

test('kills an insert that has arrived and not begun, so that it never does', async () => {
  await client.command({ query: 'CREATE TABLE IF NOT EXISTS arriving (x UInt64) ENGINE = MergeTree ORDER BY x' })
  const body = new PassThrough()
  const query = 'INSERT INTO arriving FORMAT TSV'
  const failed = expect(client.exec({ query, query_id: 'lane/4/1', values: body })).rejects.toMatchObject({
    code: '394',
  })
  body.write('1\n')
  const spooled = (): Promise<string[]> => readdir(endpoint.spoolFolder())
  await expect.poll(spooled, SOON).not.toEqual([])
  await client.command({ query: "KILL QUERY WHERE startsWith(query_id, 'lane/4/') SYNC" })
  body.end('2\n')
  await failed
  expect(await rows('SELECT count() AS n FROM arriving')).toEqual([{ n: 0 }])
})

test('keeps temporary tables and settings in a session, and only there', async () => {
  const session = createClient({ url: endpoint.url, log: { level: ClickHouseLogLevel.OFF }, session_id: 'mine' })
  try {
    await session.command({ query: 'CREATE TEMPORARY TABLE keep (x Int8)' })
    await session.command({ query: 'SET max_block_size = 77' })
    await session.insert({ table: 'keep', values: [{ x: 1 }], format: 'JSONEachRow' })
    const query = "SELECT x, getSetting('max_block_size') AS size FROM keep"
    const kept = await session.query({ query, format: 'JSONEachRow', clickhouse_settings: { max_threads: 1 } })
    expect(await kept.json()).toEqual([{ x: 1, size: 77 }])
    await expect(rows('SELECT * FROM keep')).rejects.toMatchObject({ code: '60' })
  } finally {
    await session.close()
  }
})

test('lets no setting leak into a later request', async () => {
  const query = "SELECT getSetting('max_block_size') AS size, getSetting('insert_deduplication_token') AS token"
  const values = [{ id: 1, s: 'x' }]
  const settings = { insert_deduplication_token: 'once', max_block_size: '99' }
  await client.insert({ table: 't', values, format: 'JSONEachRow', clickhouse_settings: settings })
  const [seen] = await rows<{ size: number; token: string }>(query)
  expect(seen?.size).not.toBe(99)
  expect(seen?.token).toBe('')
})

test('deduplicates inserts by their token', async () => {
  const insert = (id: number, token: string): Promise<unknown> =>
    client.insert({
      table: 't',
      values: [{ id, s: 'x' }],
      format: 'JSONEachRow',
      clickhouse_settings: { insert_deduplication_token: token, async_insert: 0 },
    })
  await insert(1, 't/1')
  await insert(1, 't/1')
  expect(await count()).toBe(1)
  await insert(1, 't/2')
  await insert(2, 't/3')
  expect(await count()).toBe(3)
})

test('runs eight clients at a time', async () => {
  const tasks = Array.from({ length: 8 }, async (_, lane) => {
    for (let round = 0; round < 5; round += 1) {
      await client.insert({ table: 't', values: [{ id: lane * 10 + round, s: 'x' }], format: 'JSONEachRow' })
      await rows('SELECT sum(id) FROM t')
    }
  })
  await Promise.all(tasks)
  expect(await count()).toBe(40)
})

test('leaves no spooled data behind', async () => {
  await expect.poll(() => readdir(endpoint.spoolFolder()), SOON).toEqual([])
})

test('binds parameters in inline values', async () => {
  const query = 'INSERT INTO t (id, s) VALUES ({id:UInt64}, {s:String})'
  await client.command({ query, query_params: { id: 9, s: 'x' } })
  expect(await rows('SELECT * FROM t')).toEqual([{ id: 9, s: 'x' }])
})
