import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type EndpointProcess, startEndpointProcess } from './clickhouse-endpoint-process.ts'

// What any client sees on the wire: codes and statuses of errors, users, read-only requests, what is refused.

const PASSWORD = 'secret'
let folder: string
let endpoint: EndpointProcess

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-clickhouse-'))
  endpoint = await startEndpointProcess(folder, PASSWORD)
})

afterAll(async () => {
  await endpoint?.stop()
  await rm(folder, { recursive: true, force: true })
})

interface Answer {
  status: number
  code: string | undefined
  body: string
}

/** A request as curl would send it; the password is `secret` where none is given. */
async function ask(
  method: string,
  parameters: Record<string, string>,
  body: string | Buffer = '',
  headers: Record<string, string> = { 'x-clickhouse-key': PASSWORD },
): Promise<Answer> {
  const url = `${endpoint.url}/?${new URLSearchParams(parameters)}`
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, (response) => {
      const code = response.headers['x-clickhouse-exception-code']
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, code: code?.toString(), body }), reject)
    })
    sent.on('error', reject).end(body)
  })
}

const post = (sql: string, parameters: Record<string, string> = {}): Promise<Answer> => ask('POST', parameters, sql)

test('greets, and answers ping, without a user', async () => {
  expect(await (await fetch(`${endpoint.url}/ping`)).text()).toBe('Ok.\n')
  expect(await ask('GET', {})).toMatchObject({ status: 200, body: 'Ok.\n' })
  expect((await fetch(`${endpoint.url}/nothing`)).status).toBe(404)
})

test('answers statements from the URL, the body, both, and a form', async () => {
  expect((await ask('GET', { query: 'SELECT 1' })).body).toBe('1\n')
  expect((await post('SELECT 1, 2 FORMAT CSV;')).body).toBe('1,2\n')
  expect((await post('FROM numbers(2)', { query: 'SELECT number' })).body).toBe('0\n1\n')
  const form = new FormData()
  form.append('query', 'SELECT {x:String}')
  form.append('param_x', 'é')
  const answer = await fetch(endpoint.url, { method: 'POST', body: form, headers: { 'x-clickhouse-key': PASSWORD } })
  expect(await answer.text()).toBe('é\n')
})

test.each([
  ['SELEC 1', 400, '62'],
  ['SELECT * FROM nowhere', 404, '60'],
  ['SELECT nothing FROM system.one', 400, '47'],
  ['SELECT 1 SETTINGS no_such_setting = 1', 404, '115'],
  ['SELECT throwIf(1)', 400, '395'],
  ['INSERT INTO FUNCTION null(\'x UInt8\') FORMAT JSONEachRow {"x":"no"}', 400, '27'],
  ['', 400, '62'],
])('answers %s with status %i and code %s', async (sql, status, code) => {
  const answer = await post(sql)
  expect(answer).toMatchObject({ status, code })
  expect(answer.body).toMatch(/^Code: \d+\. DB::Exception: .+ \([A-Z_]+\) \(version \d.*\)\n$/s)
})

test.each([
  'SELECT 1; SELECT 2',
  "SELECT 1 /* ; */ -- ';'\n; DROP TABLE x",
  "SELECT 1 INTO OUTFILE '/tmp/x'",
  "SELECT 1 INTO/**/OUTFILE '/tmp/x'",
  "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
])('refuses %s', async (sql) => {
  expect((await post(sql)).status).toBeGreaterThanOrEqual(400)
})

test('is not misled by what stands in strings and comments', async () => {
  const sql = "SELECT ';', 'INTO OUTFILE', $$ FROM INFILE ; $$ AS `; x` -- ; SELECT 2\n /* ; */ ;"
  expect((await post(sql)).body).toBe(';\tINTO OUTFILE\t FROM INFILE ; \n')
})

test('knows its user by parameter, header and basic authentication, and nobody else', async () => {
  const basic = (user: string, password: string) => ({
    authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
  })
  expect((await ask('POST', { user: 'default', password: PASSWORD }, 'SELECT 1', {})).status).toBe(200)
  expect((await ask('POST', {}, 'SELECT 1', basic('default', PASSWORD))).status).toBe(200)
  for (const headers of [{}, basic('default', 'wrong'), basic('admin', PASSWORD), { 'x-clickhouse-key': 'wrong' }]) {
    expect(await ask('POST', {}, 'SELECT 1', headers)).toMatchObject({ status: 403, code: '516' })
  }
})

test('refuses requests that a web page makes', async () => {
  const key = { 'x-clickhouse-key': PASSWORD }
  expect((await ask('POST', {}, 'SELECT 1', { ...key, origin: 'https://elsewhere.example' })).status).toBe(403)
  expect((await ask('POST', {}, 'SELECT 1', { ...key, host: 'rebound.example' })).status).toBe(403)
  expect((await ask('POST', {}, 'SELECT 1', { ...key, host: 'localhost:8123' })).status).toBe(200)
})

test('writes nothing for a GET or a read-only request, also within a session', async () => {
  await post('CREATE TABLE r (x UInt8) ENGINE = Memory')
  const write = 'INSERT INTO r SELECT 1'
  for (const session of [{}, { session_id: 's' }]) {
    expect(await ask('GET', { ...session, query: write })).toMatchObject({ code: '164' })
    expect(await ask('POST', { ...session, readonly: '1' }, write)).toMatchObject({ code: '164' })
    expect(await ask('POST', { ...session, readonly: '2' }, 'DROP TABLE r')).toMatchObject({ code: '164' })
  }
  expect(await ask('GET', { query: 'SELECT count() FROM r', max_threads: '1' })).toMatchObject({ body: '0\n' })
  expect(await ask('POST', { session_id: 's' }, write)).toMatchObject({ status: 200 })
})

test('runs the requests of a session one after another, and knows whether it exists', async () => {
  expect(await post('SELECT 1', { session_id: 'new', session_check: '1' })).toMatchObject({ code: '372' })
  expect((await post('SET max_block_size = 5 /* keeps */', { session_id: 'new' })).status).toBe(200)
  const order: string[] = []
  const slow = post('SELECT sleepEachRow(1) FROM numbers(600) SETTINGS max_block_size = 1 /* slow */', {
    session_id: 'new',
    query_id: 'slow',
  }).then(({ code }) => order.push(`slow ${code}`))
  const running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'slow'"
  await expect.poll(async () => (await post(running)).body, { timeout: 60_000 }).toBe('1\n')
  const next = post("SELECT getSetting('max_block_size')", { session_id: 'new' }).then(({ body }) => order.push(body))
  // other requests go on
  expect((await post('SELECT 1')).body).toBe('1\n')
  expect(order).toEqual([])
  await post("KILL QUERY WHERE query_id = 'slow' SYNC")
  await Promise.all([slow, next])
  expect(order).toEqual(['slow 394', '5\n'])
})

test('refuses a body above its limit, and goes on', async () => {
  const large = Buffer.alloc(65 * 2 ** 20, 'x')
  const refused = await ask(
    'POST',
    { query: "INSERT INTO FUNCTION null('x String') FORMAT LineAsString" },
    large,
  ).catch(
    (error: NodeJS.ErrnoException) => error.code, // the connection may be closed while the rest is sent
  )
  if (typeof refused === 'object') expect(refused).toMatchObject({ status: 413, code: '307' })
  else expect(refused).toMatch(/EPIPE|ECONNRESET/)
  expect((await post('SELECT 1')).body).toBe('1\n')
})

test('answers while a scalar subquery is computed', async () => {
  let done = false
  // as long as a query may sleep
  const slow = post('SELECT (SELECT sleep(3)) FORMAT TSV').then(() => {
    done = true
  })
  expect((await post('SELECT 1')).body).toBe('1\n')
  expect(done).toBe(false)
  await slow
})

test('keeps a directory to one process, and opens it again after a kill', async () => {
  await post('CREATE TABLE kept (x UInt8) ENGINE = MergeTree ORDER BY x')
  await post('INSERT INTO kept VALUES (1)')
  await expect(startEndpointProcess(folder)).rejects.toThrow()
  await endpoint.stop('SIGKILL')
  endpoint = await startEndpointProcess(folder, PASSWORD)
  expect((await post('SELECT * FROM kept')).body).toBe('1\n')
})
