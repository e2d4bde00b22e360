import { Agent, request as httpRequest } from 'node:http'
import type { Socket } from 'node:net'
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { overload } from '../../ingest/plugins/overload.ts'
import { type BareGateway, MIB, startBareGateway } from '../support/bare-gateway.ts'
import { eventually } from '../support/eventually.ts'
import { open, sendRaw } from '../support/raw-http.ts'

// What someone who means no good can send, on real sockets. What Node refuses by itself is here too: it must stay so.

const AUTH = 'host: gateway\r\nauthorization: Bearer x\r\n'
const JSON_TYPE = 'content-type: application/json\r\n'
const SOCKETS = 5_000
const DRIP_MS = 400
/** Nothing is cut for being slow. */
const PATIENT = { headersTimeoutMs: 120_000, requestTimeoutMs: 120_000 }

async function post(
  { port }: BareGateway,
  body: Buffer | string,
  headers: Readonly<Record<string, string>> = {},
  path = '/bytes',
): Promise<{ status: number; body: { code?: string; bytes?: number }; headers: Headers }> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { authorization: 'Bearer x', 'content-type': 'application/json', ...headers },
    body,
  })
  const text = await answer.json()
  return { status: answer.status, body: text as { code?: string; bytes?: number }, headers: answer.headers }
}

/** Someone who asks again and again over connections of their own, until `stop`; what they were answered. */
function goodClient({ port }: BareGateway): { stop(): Promise<readonly number[]> } {
  const agent = new Agent({ keepAlive: true })
  const statuses: number[] = []
  let stopped = false
  const ask = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: 'Bearer x', 'content-type': 'application/json' }
      const sent = httpRequest(
        { port, host: '127.0.0.1', method: 'POST', path: '/bytes', agent, headers },
        (answer) => {
          answer.resume().once('end', () => resolve(answer.statusCode ?? 0))
        },
      )
      sent.once('error', reject)
      sent.end('{"good":true}')
    })
  const asking = (async () => {
    while (!stopped) statuses.push(await ask())
  })()
  return {
    async stop() {
      stopped = true
      await asking
      agent.destroy()
      return statuses
    },
  }
}

async function openMany(port: number, count: number): Promise<{ sockets: Socket[]; closed: () => number }> {
  const sockets: Socket[] = []
  let closed = 0
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  while (sockets.length < count) {
    const more = await Promise.all(Array.from({ length: Math.min(250, count - sockets.length) }, () => open(port)))
    for (const socket of more) {
      socket.on('error', () => socket.destroy())
      socket.once('close', () => closed++)
      socket.resume()
      sockets.push(socket)
    }
  }
  return { sockets, closed: () => closed }
}

test.each([
  ['headers that never end', `POST /bytes HTTP/1.1\r\n${AUTH}x-slow: `],
  ['bodies that never end', `POST /bytes HTTP/1.1\r\n${AUTH}${JSON_TYPE}content-length: 1000\r\n\r\n{`],
  [
    'bodies in chunks that never end',
    `POST /bytes HTTP/1.1\r\n${AUTH}${JSON_TYPE}transfer-encoding: chunked\r\n\r\n1\r\n{\r\n`,
  ],
  ['nothing at all', ''],
])(
  '5,000 connections with %s are cut within their time, and a good client is served all the while',
  async (_name, first) => {
    const gateway = await startBareGateway({ bodies: { leastBytesPerSecond: 100 } })
    const good = goodClient(gateway)
    const { sockets, closed } = await openMany(gateway.port, SOCKETS)
    for (const socket of sockets) socket.write(first)
    let drips = 0
    // they go on, slowly
    const drip = setInterval(() => {
      drips++
      if (first !== '')
        for (const socket of sockets) if (socket.writable) socket.write(first.endsWith('\r\n') ? '1\r\nx\r\n' : 'x')
    }, DRIP_MS)
    onTestFinished(() => clearInterval(drip))
    await eventually(() => expect(closed()).toBe(SOCKETS), { deadlineMs: 120_000 })
    const statuses = await good.stop()
    // this thread is the server's, too: what is slow for one is slow for the other
    expect(drips).toBeLessThan(20_000 / DRIP_MS)
    expect(statuses.length).toBeGreaterThan(50)
    expect(new Set(statuses)).toEqual(new Set([200]))
    await eventually(() => expect(gateway.held.bytes()).toBe(0), { deadlineMs: 30_000 })
  },
  300_000,
)

/** The most of resident memory above what it was, while `work` runs. */
async function growth(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss()
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss())
  }, 2)
  await work()
  clearInterval(timer)
  return Math.max(most, process.memoryUsage.rss()) - before
}

test('a body that decodes to a gigabyte is cut off at the limit, and takes at most twice the limit', async () => {
  const LIMIT = 16 * MIB
  const gateway = await startBareGateway({ bodies: { maxBodyBytes: LIMIT, maxRatio: 10_000, slowAfterMs: 10_000 } })
  const zeros = Buffer.alloc(64 * MIB)
  // members of one file: 1 GiB of zeros
  const gzip = Buffer.concat(new Array(16).fill(gzipSync(zeros)))
  const zstd = Buffer.concat(new Array(16).fill(zstdCompressSync(zeros)))
  const deflate = deflateSync(zeros)
  const bombs = [
    ['gzip', gzip],
    ['zstd', zstd],
    ['deflate', deflate],
  ] as const
  // what the first request of its kind takes once
  await post(gateway, gzipSync('{}'), { 'content-encoding': 'gzip' })
  for (const [encoding, body] of bombs) {
    const grown = await growth(async () => {
      const answer = await post(gateway, body, { 'content-encoding': encoding })
      expect(answer).toMatchObject({ status: 413, body: { code: 'body_too_large' } })
    })
    expect(grown, encoding).toBeLessThan(2 * LIMIT)
  }
  expect(gateway.reached).toEqual(['/bytes'])
  await eventually(() => expect(gateway.held.bytes()).toBe(0), { deadlineMs: 30_000 })
})

test('a body that decodes to far more than was sent is refused though it is below the limit', async () => {
  const gateway = await startBareGateway({ bodies: { maxBodyBytes: 16 * MIB } })
  const answer = await post(gateway, gzipSync(Buffer.alloc(8 * MIB)), { 'content-encoding': 'gzip' })
  expect(answer).toMatchObject({ status: 413, body: { code: 'compression_ratio' } })
})

test('a zstd frame that asks its reader for more memory than the limit is refused', async () => {
  const gateway = await startBareGateway()
  // magic, a frame header whose window is 128 MiB and no size, one empty last block
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0x00, 0x00])
  expect(await post(gateway, frame, { 'content-encoding': 'zstd' })).toMatchObject({
    status: 400,
    body: { code: 'bad_encoding' },
  })
})

test('encodings: what is meant is decoded and counted as it came, everything else refused', async () => {
  const gateway = await startBareGateway()
  const text = JSON.stringify({ text: 'a '.repeat(2_000) })
  const encoded = { gzip: gzipSync(text), deflate: deflateSync(text), zstd: zstdCompressSync(text) }
  for (const [encoding, body] of Object.entries(encoded)) {
    const answer = await post(gateway, body, { 'content-encoding': encoding })
    expect(answer).toMatchObject({ status: 200, body: { bytes: text.length } })
    await eventually(() => expect(gateway.receivedBytes.at(-1)).toBe(body.length), { deadlineMs: 30_000 })
    const cut = await post(gateway, body.subarray(0, body.length - 5), { 'content-encoding': encoding })
    expect(cut, `${encoding} cut short`).toMatchObject({ status: 400, body: { code: 'bad_encoding' } })
    const wrong = await post(gateway, text, { 'content-encoding': encoding })
    expect(wrong).toMatchObject({ status: 400, body: { code: 'bad_encoding' } })
  }
  for (const encoding of ['br', 'gzip, gzip', 'compress', 'gzip,br', 'GZIP;q=1']) {
    const answer = await post(gateway, encoded.gzip, { 'content-encoding': encoding })
    expect(answer, encoding).toMatchObject({ status: 415, body: { code: 'unsupported_encoding' } })
  }
  for (const type of ['text/plain', 'application/xml', 'multipart/form-data; boundary=x']) {
    expect(await post(gateway, '{}', { 'content-type': type })).toMatchObject({ status: 415 })
  }
})

test('bodies above the limit: said beforehand, in chunks, and in chunks of one byte', async () => {
  const gateway = await startBareGateway()
  const { port } = gateway
  expect(await post(gateway, Buffer.alloc(MIB + 1))).toMatchObject({ status: 413, body: { code: 'body_too_large' } })
  expect(await post(gateway, Buffer.alloc(MIB))).toMatchObject({ status: 200, body: { bytes: MIB } })
  const chunked = `POST /bytes HTTP/1.1\r\n${AUTH}${JSON_TYPE}transfer-encoding: chunked\r\n\r\n`
  const large = await sendRaw(port, [chunked, ...new Array(40).fill(`10000\r\n${'x'.repeat(65_536)}\r\n`), '0\r\n\r\n'])
  expect(large.statuses).toEqual([413])
  const small = await sendRaw(port, [
    chunked.replace('host', 'connection: close\r\nhost'),
    '1\r\nx\r\n'.repeat(200_000),
    '0\r\n\r\n',
  ])
  expect(small.statuses).toEqual([200])
  expect(small.text).toContain('{"bytes":200000}')
})

test('who is turned away has not been asked for the body (Expect: 100-continue)', async () => {
  const { port } = await startBareGateway()
  const head = (more: string): string =>
    `POST /bytes HTTP/1.1\r\nhost: g\r\nconnection: close\r\n${more}${JSON_TYPE}expect: 100-continue\r\ncontent-length: 2\r\n\r\n`
  expect((await sendRaw(port, [head('')])).statuses).toEqual([401])
  const allowed = await sendRaw(port, [head('authorization: x\r\n'), '{}'])
  expect(allowed.statuses).toEqual([100, 200])
  const tooLarge = head('authorization: x\r\n').replace('content-length: 2', 'content-length: 9999999')
  expect((await sendRaw(port, [tooLarge])).statuses).toEqual([413])
  expect((await sendRaw(port, [head('').replace('100-continue', 'tea')])).statuses).toEqual([417])
})

test.each([
  ['two different lengths', 'content-length: 2\r\ncontent-length: 3\r\n\r\n{}'],
  ['a length and chunks', 'content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['chunks and a length', 'transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n'],
  ['chunks that are not last', 'transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n'],
  ['a hidden transfer encoding', 'content-length: 2\r\ntransfer-encoding : chunked\r\n\r\n{}'],
  ['a folded transfer encoding', 'content-length: 2\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n'],
  ['a negative length', 'content-length: -1\r\n\r\n{}'],
  ['a length with a sign', 'content-length: +2\r\n\r\n{}'],
  ['a length that is no number', 'content-length: 0x2\r\n\r\n{}'],
  ['a length beyond any', 'content-length: 99999999999999999999999\r\n\r\n{}'],
  ['a chunk that is no number', 'transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n'],
  ['a chunk longer than it says', 'transfer-encoding: chunked\r\n\r\n1\r\n{}}\r\n0\r\n\r\n'],
  ['lines without CR', 'content-length: 2\n\n{}'],
  ['a header with a NUL', 'x-nul: a\0b\r\ncontent-length: 2\r\n\r\n{}'],
])('%s: one answer that it is no request, and nothing after it is taken for one', async (_name, rest) => {
  const gateway = await startBareGateway()
  const smuggled = `POST /json HTTP/1.1\r\n${AUTH}${JSON_TYPE}content-length: 2\r\n\r\n{}`
  const answer = await sendRaw(gateway.port, [`POST /bytes HTTP/1.1\r\n${AUTH}${JSON_TYPE}${rest}${smuggled}`])
  expect(answer.statuses.length).toBeLessThanOrEqual(1)
  for (const status of answer.statuses) expect([400, 413]).toContain(status)
  expect(gateway.reached).not.toContain('/json')
})

test('a length that lies: what is too much is no request, what is missing is cut', async () => {
  const gateway = await startBareGateway({ bodies: { leastBytesPerSecond: 100 } })
  const head = `POST /bytes HTTP/1.1\r\n${AUTH}${JSON_TYPE}`
  const short = await sendRaw(gateway.port, [`${head}content-length: 2\r\n\r\n{}{"more":"than that"}`])
  expect(short.statuses.every((status) => status === 200 || status === 400)).toBe(true)
  expect(gateway.reached.length).toBeLessThanOrEqual(1)
  const long = await sendRaw(gateway.port, [`${head}content-length: 50\r\n\r\n{}`])
  expect(long.statuses).toEqual([408])
  expect(long.text).toContain('slow_body')
})

test('garbage behind a request is never taken for its answer', async () => {
  const gateway = await startBareGateway()
  const good = `POST /bytes HTTP/1.1\r\n${AUTH}${JSON_TYPE}content-length: 2\r\n\r\n{}`
  const answer = await sendRaw(gateway.port, [`${good}\x16\x03\x01garbage\r\n\r\n${good}`])
  expect(answer.statuses[0] ?? 200).toBe(200)
  expect(gateway.reached.length).toBeLessThanOrEqual(1)
  expect((await sendRaw(gateway.port, ['\x16\x03\x01\x02\x00\x01'])).statuses).toEqual([400])
})

test('headers and URLs: too many, too large, too long', async () => {
  const { port } = await startBareGateway()
  const head = (url: string, headers: string): string =>
    `GET ${url} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n${headers}\r\n`
  const many = (count: number): string => Array.from({ length: count }, (_, index) => `x-${index}: 1\r\n`).join('')
  expect((await sendRaw(port, [head('/', many(62))])).statuses).toEqual([404])
  expect((await sendRaw(port, [head('/', many(63))])).text).toMatch(/^HTTP\/1\.1 431 .*too_many_headers/s)
  expect((await sendRaw(port, [head('/', many(1_000))])).statuses).toEqual([431])
  expect((await sendRaw(port, [head('/', `x-long: ${'a'.repeat(20_000)}\r\n`)])).text).toMatch(
    /^HTTP\/1\.1 431 .*headers_too_large/s,
  )
  expect((await sendRaw(port, [head('/', `cookie: ${'a=b; '.repeat(5_000)}\r\n`)])).statuses).toEqual([431])
  expect((await sendRaw(port, [head(`/${'a'.repeat(5_000)}`, '')])).statuses).toEqual([414])
  expect((await sendRaw(port, [head(`/${'a'.repeat(50_000)}`, '')])).statuses).toEqual([431])
  expect((await sendRaw(port, [head(`/?${'a=1&'.repeat(1_000)}`, '')])).statuses).toEqual([404])
  expect((await sendRaw(port, [head(`/?${'a=1&'.repeat(100_000)}`, '')])).statuses).toEqual([431])
})

test('JSON that is deep, wide, or means something to JavaScript does not reach a route with a schema', async () => {
  const gateway = await startBareGateway()
  const wide = `{${Array.from({ length: 5_000 }, (_, index) => `"k${index}":1`).join(',')}}`
  const cases = [
    ['['.repeat(100_000), 'json_too_deep'],
    [`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`, 'json_too_deep'],
    [wide, 'json_too_wide'],
    ['{"__proto__":{"name":"x"}}', 'forbidden_key'],
    ['{"constructor":{"prototype":{"name":"x"}}}', 'forbidden_key'],
    ['{"name":"a","name":"b"}', 'duplicate_key'],
  ] as const
  for (const [body, code] of cases) {
    expect(await post(gateway, body, {}, '/json')).toMatchObject({ status: 400, body: { code } })
  }
  expect(gateway.reached).toEqual([])
  expect(Object.hasOwn(Object.prototype, 'name')).toBe(false)
  expect(await post(gateway, '{"name":"a"}', {}, '/json')).toMatchObject({ status: 200, body: { name: 'a' } })
})

test('a client that goes away in the middle of a body leaves nothing behind', async () => {
  const gateway = await startBareGateway({ app: PATIENT })
  const { sockets } = await openMany(gateway.port, 200)
  for (const socket of sockets) {
    socket.write(`POST /bytes HTTP/1.1\r\n${AUTH}${JSON_TYPE}content-length: 500000\r\n\r\n${'x'.repeat(100_000)}`)
  }
  await eventually(() => expect(gateway.held.bytes()).toBeGreaterThan(10 * MIB), { deadlineMs: 30_000 })
  for (const socket of sockets) socket.destroy()
  await eventually(() => expect(gateway.held.bytes()).toBe(0), { deadlineMs: 30_000 })
  expect(gateway.reached).toEqual([])
})

test('bodies hold no more together than there is room for: the others are told so before they are read', async () => {
  const shed: string[] = []
  const gateway = await startBareGateway({
    app: PATIENT,
    bodies: { maxBodyBytes: 8 * MIB },
    before: (held) => [
      overload({
        maxMemoryBytes: 16 * 1_024 * MIB,
        held,
        backlog: { of: () => ({ bytes: 0, oldestMs: 0 }), maxBytes: MIB },
        clock: systemClock,
        observer: { shed: (because) => void shed.push(because) },
      }),
    ],
  })
  const head = `POST /bytes HTTP/1.1\r\n${AUTH}${JSON_TYPE}content-length: ${8 * MIB}\r\n\r\n`
  const { sockets } = await openMany(gateway.port, 9)
  for (const socket of sockets) socket.write(Buffer.concat([Buffer.from(head), Buffer.alloc(5 * MIB)]))
  await eventually(() => expect(gateway.held.bytes()).toBeGreaterThan(0.9 * gateway.held.max), { deadlineMs: 30_000 })
  expect(gateway.held.bytes()).toBeLessThanOrEqual(gateway.held.max)
  const refused = await fetch(`http://127.0.0.1:${gateway.port}/bytes`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: Buffer.alloc(8 * MIB - 1),
  })
  // before anybody asked who it is
  expect(refused.status).toBe(503)
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  expect(refused.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  expect(await refused.json()).toMatchObject({ code: 'overloaded', status: 503, instance: '/bytes' })
  expect(shed).toContain('room')
})
