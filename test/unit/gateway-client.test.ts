import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { createGatewayClient, type GatewayClient, GatewayError } from 'millrace/client'
import { expect, onTestFinished, test } from 'vitest'

interface Seen {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

type Reply = (response: ServerResponse, seen: Seen) => void

/** A server that gives each request the next reply, and the last one to all that follow. */
async function gatewayThat(...replies: readonly Reply[]): Promise<{ client: GatewayClient; seen: readonly Seen[] }> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    const { method, url, headers } = request
    void text(request).then((body) => {
      const last = { method, url, headers, body }
      seen.push(last)
      replies[Math.min(seen.length, replies.length) - 1]?.(response, last)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { client: createGatewayClient({ url, key: 'mr_test', retry: { baseMs: 1, attempts: 4 } }), seen }
}

const json =
  (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Reply =>
  (response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
const cut: Reply = (response) => response.destroy()
const halfAnswer: Reply = (response) => {
  response.writeHead(202, { 'content-length': '100' })
  response.write('{"results"', () => response.destroy())
}
const problem = (status: number, code: string, headers?: Readonly<Record<string, string>>, more: object = {}): Reply =>
  json(status, { code, detail: `it is ${code}`, status, ...more }, headers)
const accepted = json(202, {
  accepted: 1,
  refused: 1,
  results: [
    { index: 0, status: 'accepted', request_id: 'flights.20130315.3.7', event_id: 'k.0', repeated: true },
    { index: 1, status: 'refused', problem: { code: 'wrong_type', pointer: '/flight', detail: 'is no int' } },
  ],
})

test('events are sent again with the same key until there is a whole answer', async () => {
  const { client, seen } = await gatewayThat(cut, halfAnswer, problem(503, 'kafka_unavailable'), accepted)
  const results = await client.sendEvents('flights', [{ at: 9_007_199_254_740_993n }, { flight: 'x' }])
  expect(results).toEqual([
    { status: 'accepted', requestId: 'flights.20130315.3.7', eventId: 'k.0', repeated: true },
    { status: 'refused', problem: { code: 'wrong_type', pointer: '/flight', detail: 'is no int' } },
  ])
  expect(seen).toHaveLength(4)
  expect(new Set(seen.map(({ headers }) => headers['idempotency-key'])).size).toBe(1)
  expect(seen[0]).toMatchObject({
    method: 'POST',
    url: '/v1/pipelines/flights/events',
    headers: { authorization: 'Bearer mr_test', 'idempotency-key': expect.stringMatching(/^[0-9a-f-]{36}$/) },
    body: '[{"at":"9007199254740993"},{"flight":"x"}]',
  })
})

test('every call has another key, its own, or none', async () => {
  const { client, seen } = await gatewayThat(accepted)
  await client.sendEvents('flights', [{}])
  await client.sendEvents('flights', [{}])
  await client.sendLabels('flights', [{}], { idempotencyKey: 'mine', traceparent: '00-1-2-01' })
  await client.sendEvents('flights', [{}], { idempotencyKey: null })
  const [first, second, third, fourth] = seen.map(({ headers }) => headers['idempotency-key'])
  expect(first).not.toBe(second)
  expect([third, fourth]).toEqual(['mine', undefined])
  expect(seen[2]).toMatchObject({ url: '/v1/pipelines/flights/labels', headers: { traceparent: '00-1-2-01' } })
})

test('it waits as long as the gateway asks it to, and does not when that is too long', async () => {
  const { client } = await gatewayThat(problem(429, 'rate_limited', { 'retry-after': '1' }), accepted)
  const startedAt = performance.now()
  await client.sendEvents('flights', [{}])
  expect(performance.now() - startedAt).toBeGreaterThan(990)
  const patient = await gatewayThat(problem(429, 'quota_exceeded', { 'retry-after': '86400' }), accepted)
  await expect(patient.client.sendEvents('flights', [{}])).rejects.toMatchObject({
    code: 'quota_exceeded',
    status: 429,
  })
  expect(patient.seen).toHaveLength(1)
})

test('what is refused is not sent again', async () => {
  const errors = [{ index: 0, code: 'missing_field', pointer: '/flight', detail: 'is missing' }]
  const { client, seen } = await gatewayThat(problem(400, 'invalid_events', {}, { errors }))
  const error = await client.sendEvents('flights', [{}]).catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(GatewayError)
  expect(error).toMatchObject({
    code: 'invalid_events',
    status: 400,
    message: 'it is invalid_events',
    problem: { errors },
  })
  expect(seen).toHaveLength(1)
})

test('it gives up after its attempts, with what was wrong', async () => {
  const { client, seen } = await gatewayThat(cut)
  await expect(client.sendEvents('flights', [{}])).rejects.toMatchObject({ code: 'unreachable', status: null })
  expect(seen).toHaveLength(4)
  const page = await gatewayThat((response) => response.writeHead(502).end('<html>'))
  await expect(page.client.sendEvents('flights', [{}])).rejects.toMatchObject({ code: 'http_502', problem: null })
})

test('a signal ends a call between its attempts', async () => {
  const { client } = await gatewayThat(problem(503, 'draining', { 'retry-after': '20' }))
  const signal = AbortSignal.timeout(50)
  await expect(client.sendEvents('flights', [{}], { signal })).rejects.toThrow(/timeout/)
})

test('a prediction is answered as what became of the event', async () => {
  const prediction = { request_id: 'flights.20130315.3.7', score: 0.5 }
  const { client, seen } = await gatewayThat(
    json(200, { state: 'predicted', prediction }),
    json(202, { state: 'pending', request_id: 'flights.20130315.3.7' }),
    problem(422, 'rejected', {}, { reason: 'distance_out_of_range' }),
    problem(422, 'idempotency_key_reused'),
  )
  expect(await client.predict('flights', { flight: 1 }, { waitSeconds: 2 })).toEqual({ state: 'predicted', prediction })
  expect(seen[0]).toMatchObject({
    url: '/v1/pipelines/flights/predict',
    headers: { prefer: 'wait=2' },
    body: '{"flight":1}',
  })
  expect(await client.predict('flights', {})).toEqual({ state: 'pending', requestId: 'flights.20130315.3.7' })
  expect(await client.predict('flights', {})).toEqual({
    state: 'rejected',
    reason: 'distance_out_of_range',
    message: 'it is rejected',
  })
  await expect(client.predict('flights', {})).rejects.toMatchObject({ code: 'idempotency_key_reused' })
})

test('a prediction is waited for', async () => {
  const pending = json(202, { state: 'pending', request_id: 'r' }, { 'retry-after': '0' })
  const { client, seen } = await gatewayThat(
    pending,
    pending,
    json(200, { state: 'rejected', reason: 'late', message: 'too late' }),
  )
  expect(await client.waitForPrediction('a/b')).toEqual({ state: 'rejected', reason: 'late', message: 'too late' })
  expect(seen.map(({ url }) => url)).toEqual(Array(3).fill('/v1/predictions/a%2Fb'))
  const never = await gatewayThat(pending)
  expect(await never.client.waitForPrediction('r', { timeoutMs: 30 })).toEqual({ state: 'pending', requestId: 'r' })
  const unknown = await gatewayThat(problem(404, 'unknown_request'))
  await expect(unknown.client.prediction('r')).rejects.toMatchObject({ status: 404 })
})

test('a stream goes on behind the last prediction that came, however its connection ends', async () => {
  const events =
    (text: string, end: 'end' | 'destroy'): Reply =>
    (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(text, () => (end === 'end' ? response.end() : response.destroy()))
    }
  const told = (id: string, score: number) => `id: ${id}\nevent: prediction\ndata: {"score":${score}}\n\n`
  const { client, seen } = await gatewayThat(
    events(`retry: 1\nid: p0\n\n${told('p1', 1)}${told('p2', 2).replaceAll('\n', '\r\n')}id: lost\nda`, 'destroy'),
    events(`: heartbeat\nid: p3\n\nid: p4\nevent: cut\ndata: {"reason":"draining"}\n\n`, 'end'),
    problem(503, 'draining'),
    events(told('p5', 3), 'end'),
    problem(410, 'position_lost'),
  )
  const scores: unknown[] = []
  const stream = client.stream('flights', { keys: ['N1', 'N2'], requestIds: ['r'], lastEventId: 'before' })
  const error = await (async () => {
    for await (const { id, prediction } of stream) scores.push([id, prediction.score])
  })().catch((caught: unknown) => caught)
  expect(error).toMatchObject({ code: 'position_lost', status: 410 })
  expect(scores).toEqual([
    ['p1', 1],
    ['p2', 2],
    ['p5', 3],
  ])
  expect(seen.map(({ headers }) => headers['last-event-id'])).toEqual(['before', 'p2', 'p4', 'p4', 'p5'])
  expect(seen[0]?.url).toBe('/v1/pipelines/flights/predictions/stream?key=N1&key=N2&request_id=r')
})

test('a stream ends with its signal, and closes its connection when nobody reads on', async () => {
  let closed = 0
  const open: Reply = (response) => {
    response.once('close', () => closed++)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('id: p1\nevent: prediction\ndata: {}\n\n')
  }
  const { client } = await gatewayThat(open)
  const stopping = new AbortController()
  const stream = client.stream('flights', { signal: stopping.signal })
  expect((await stream.next()).done).toBe(false)
  const next = stream.next()
  stopping.abort(new Error('enough'))
  await expect(next).rejects.toThrow('enough')
  for await (const { id } of client.stream('flights')) {
    expect(id).toBe('p1')
    break
  }
  await expect.poll(() => closed).toBe(2)
})
