import { expect, test } from 'vitest'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { Answer } from '../../ingest/answers/answers.ts'
import type { Intake } from '../../ingest/intake/intake.ts'
import { createEventReader } from '../../ingest/mapping/create-event-reader.ts'
import { v1Events } from '../../ingest/routes/v1-events.ts'
import { v2 } from '../../ingest/routes/v2.ts'
import type { ServedRequest } from '../../ingest/usage/usage.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { startBareGateway } from '../support/bare-gateway.ts'
import { ORDERS } from '../support/pipeline-copy.ts'
import { sendRaw } from '../support/raw-http.ts'

const orders = await loadPipeline(ORDERS)
const mapping = { rename: [], drop: [], constants: [], headers: [{ header: 'x-customer', field: 'customer_id' }] }
const pipeline: CompiledPipeline = {
  ...orders,
  event: { ...orders.event, tenant: { fixed: 'someone-tenant' } },
  http: mapping,
}

const ROWS = {
  placed_at: ['INT64', 1],
  channel: ['BYTES', 'WEB'],
  payment: ['BYTES', 'card'],
  amount: ['FP64', 5],
  gift: ['BOOL', false],
} as const
const BODY = JSON.stringify({
  inputs: Object.entries(ROWS).map(([name, [datatype, value]]) => ({ name, datatype, shape: [1], data: [value] })),
})
const EVENT = JSON.stringify(Object.fromEntries(Object.entries(ROWS).map(([name, [, value]]) => [name, value])))

/** A gateway whose Kafka takes everything and remembers keys, and whose predictions nobody makes. */
async function startV2(more: { readonly problem?: string; readonly beforeTaken?: () => Promise<void> } = {}) {
  const finished = new Set<string>()
  const taken: string[] = []
  const served: ServedRequest[] = []
  const waits: AbortSignal[] = []
  const intake: Intake = {
    async submit(items, { idempotencyKey }, before) {
      const repeated = idempotencyKey !== null && finished.has(idempotencyKey)
      if (!repeated) await before?.()
      await more.beforeTaken?.()
      finished.add(idempotencyKey ?? '')
      return items.map((item, index) => {
        if (!item.ok) return item
        if (!repeated) taken.push(`${item.key} ${item.id}`)
        return { ok: true, requestId: `orders.20260105.0.${index}`, id: item.id, repeated }
      })
    },
    backlog: () => ({ bytes: 0, oldestMs: 0 }),
  }
  const answers = {
    find: async (): Promise<Answer> => ({ state: 'pending' }),
    wait(_: unknown, __: string, signal: AbortSignal): Promise<Answer> {
      waits.push(signal)
      return Promise.resolve({ state: 'rejected', reason: 'amount_out_of_range', message: 'm' })
    },
  }
  const limits = {
    take: async () => ({ ok: true, standings: [], retryAfterSeconds: 0 }),
    giveBack: async () => {},
    enter: () => () => {},
  }
  const reader = createEventReader({ ...pipeline.event, schemaId: 1, mapping })
  const deps = { pipeline, reader, intake, limits, answers, waitMs: 60_000, problem: () => more.problem ?? null }
  const usage = { served: (request: ServedRequest) => void served.push(request) }
  const plugins = [v1Events(deps), v2({ ...deps, version: '0', logger: silentLogger })]
  const { port, app } = await startBareGateway({ app: { plugins, usage } })
  return { app, port, url: `http://127.0.0.1:${port}`, taken, served, waits }
}

const HEADERS = { authorization: 'Bearer x', 'content-type': 'application/json', 'x-customer': 'c' }
const infer = (url: string, headers: Readonly<Record<string, string>> = {}) =>
  fetch(`${url}/v2/models/orders/infer`, { method: 'POST', headers: { ...HEADERS, ...headers }, body: BODY })

test('what an earlier request brought in is no usage of a later one, which says so', async () => {
  const { url, taken, served } = await startV2()
  const first = await infer(url, { 'idempotency-key': 'k' })
  const second = await infer(url, { 'idempotency-key': 'k' })
  expect([first.status, second.status]).toEqual([422, 422])
  expect([first, second].map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([null, 'true'])
  expect(taken).toEqual(['c k.0'])
  await expect.poll(() => served.map(({ events }) => events)).toEqual([1, 0])
})

test('a header that is there twice is refused', async () => {
  const { port, taken } = await startV2()
  const post = (path: string, body: string, ...lines: readonly string[]) =>
    sendRaw(port, [
      [`POST ${path} HTTP/1.1`, 'host: x', 'authorization: x', 'content-type: application/json', 'connection: close']
        .concat(lines, `content-length: ${body.length}`, '', body)
        .join('\r\n'),
    ])
  for (const [path, body, key] of [
    ['/v1/pipelines/orders/events', EVENT, 'k1, v1'],
    ['/v2/models/orders/infer', BODY, 'k1, v2'],
  ] as const) {
    const twoFields = await post(path, body, 'x-customer: a', 'x-customer: b')
    expect(twoFields.statuses).toEqual([400])
    expect(twoFields.text).toContain('duplicate_header')
    const twoKeys = await post(path, body, 'x-customer: a', 'idempotency-key: k1', 'idempotency-key: k2')
    expect(twoKeys.statuses).toEqual([400])
    expect(twoKeys.text).toContain('invalid_idempotency_key')
    expect(taken).toEqual([])
    await post(path, body, 'x-customer: a, b', `idempotency-key: ${key}`)
    expect(taken.splice(0)).toEqual([expect.stringContaining(`a, b ${key}`)])
  }
})

test('nobody waits for predictions on behalf of a client that has gone', async () => {
  const inKafka = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<void>()
  const { app, url, waits } = await startV2({
    async beforeTaken() {
      inKafka.resolve()
      await gone.promise
    },
  })
  app.server.once('request', (_, response) => response.once('close', gone.resolve))
  const client = new AbortController()
  const asked = fetch(`${url}/v2/models/orders/infer`, {
    method: 'POST',
    headers: HEADERS,
    body: BODY,
    signal: client.signal,
  })
  const ended = expect(asked).rejects.toThrow()
  await inKafka.promise
  client.abort()
  await ended
  await expect.poll(() => waits.map(({ aborted }) => aborted)).toEqual([true])
})

test('who is told that it is not ready is told when to come again', async () => {
  const { url } = await startV2({ problem: 'Kafka is away' })
  for (const path of ['/v2/models/orders/ready', '/v2/health/ready']) {
    const answer = await fetch(url + path)
    expect(answer.status).toBe(503)
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
  }
})
