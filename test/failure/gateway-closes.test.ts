import { connect, type Socket } from 'node:net'
import { expect, inject, onTestFinished, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import { type Logger, silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { Gateway } from '../../ingest/http/request.ts'
import { type BareGateway, startBareGateway } from '../support/bare-gateway.ts'
import { eventually } from '../support/eventually.ts'
import { flightEvent } from '../support/gateway-events.ts'
import { issueKey } from '../support/gateway-keys.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { open, sendRaw } from '../support/raw-http.ts'
import { runPipeline } from '../support/running-pipeline.ts'

// What waits, on either side, holds no stop up; and what a gateway that is overloaded or alone says, and does not say.

const HEAD = 'POST /bytes HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer x\r\ncontent-type: application/json\r\n'

async function silent(port: number, text: string): Promise<{ readonly closed: Promise<void> }> {
  const socket: Socket = await open(port)
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.resume()
  if (text !== '') await new Promise<void>((resolve) => socket.write(text, () => resolve()))
  return { closed: new Promise((resolve) => socket.once('close', () => resolve())) }
}

test.each([
  ['says nothing', ''],
  ['sends a part of its headers', HEAD],
  [
    'has had its answer and begins anew',
    `${HEAD.replace('host', 'connection: keep-alive\r\nhost')}content-length: 2\r\n\r\n{}POST`,
  ],
])('a connection that %s does not hold up a server that closes', { timeout: 120_000 }, async (_name, text) => {
  // nothing else ends it before the test is given up
  const { port, app } = await startBareGateway({ app: { headersTimeoutMs: 300_000, requestTimeoutMs: 300_000 } })
  const { closed } = await silent(port, text)
  await silent(port, text)
  await app.close()
  await closed
})

test('a server that closes answers what runs, and cuts what has not ended when it is told to', async () => {
  const cut = new AbortController()
  const waiting: (() => void)[] = []
  const waits = (app: Gateway): void => {
    const answer = (): Promise<object> => new Promise((resolve) => waiting.push(() => resolve({ done: true })))
    app.get('/waits', { config: { scope: 'public' } }, answer)
  }
  const { port, app } = await startBareGateway({ app: { cut: cut.signal }, plugins: [waits] })
  const ask = 'GET /waits HTTP/1.1\r\nhost: gateway\r\n\r\n'
  const [answered, never] = [sendRaw(port, [ask]), sendRaw(port, [ask])]
  const body = await silent(port, `${HEAD}content-length: 100\r\n\r\n{`)
  await eventually(() => expect(waiting).toHaveLength(2), { deadlineMs: 30_000 })
  const closing = app.close()
  await eventually(() => expect(refused(port)).resolves.toBe(true), { deadlineMs: 30_000 })
  waiting[0]?.()
  const first = await Promise.race([answered, never])
  expect(first).toMatchObject({ statuses: [200] })
  cut.abort()
  await closing
  await body.closed
  expect([(await answered).statuses, (await never).statuses].toSorted()).toEqual([[], [200]])
})

async function refused(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return new Promise((resolve) => {
    socket.once('error', () => resolve(true))
    socket.once('connect', () => {
      socket.destroy()
      resolve(false)
    })
  })
}

test('what waits for a prediction is told 202 when the drain is over, and a silent connection keeps nobody', {
  timeout: 300_000,
}, async () => {
  const { env } = inject('stack')
  const { folder, name } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env, { start: false })
  const key = await issueKey(env)
  const times = { MILLRACE_GATEWAY_DRAIN_MS: '500', MILLRACE_SHUTDOWN_MS: '30000' }
  const gateway = await startGatewayProcess(folder, { ...env, ...times })
  await silent(gateway.port, '')
  await silent(gateway.port, HEAD)
  const ask = (path: string, more: object, body: unknown): Promise<Response> =>
    fetch(`${gateway.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...more },
      body: JSON.stringify(body),
    })
  const waiting = ask(`/v1/pipelines/${name}/predict`, { prefer: 'wait=30' }, flightEvent())
  await eventually(async () => expect((await run.account()).events).toBe(1), { deadlineMs: 60_000 })
  gateway.signal('SIGTERM')
  expect((await waiting).status).toBe(202)
  expect(await gateway.exited).toBe(0)
  expect(gateway.output()).not.toContain('not drained in time')
})

test('a drain that is as long as the time to shut down is refused at the start, by both names', async () => {
  const { env } = inject('stack')
  const { folder } = copyPipeline(FLIGHTS)
  await runPipeline(folder, env, { start: false })
  const times = { MILLRACE_GATEWAY_DRAIN_MS: '3000', MILLRACE_SHUTDOWN_MS: '3000' }
  await expect(startGatewayProcess(folder, { ...env, ...times })).rejects.toThrow(
    /invalid_config.*MILLRACE_GATEWAY_DRAIN_MS.*MILLRACE_SHUTDOWN_MS/s,
  )
})

/** A gateway with routes that fail, and the errors that it logs. */
async function failing(): Promise<BareGateway & { readonly logged: readonly object[] }> {
  const logged: object[] = []
  const logger: Logger = { ...silentLogger, error: (fields) => void logged.push(fields) }
  const routes = (app: Gateway): void => {
    app.get('/away', { config: { scope: 'read' } }, async () => {
      throw retryable('kafka_unavailable', 'away')
    })
    app.get('/broken', { config: { scope: 'read' } }, async () => {
      throw new Error('broken')
    })
  }
  return { ...(await startBareGateway({ app: { logger }, plugins: [routes] })), logged }
}

test('a request that fails because something is away is not logged, one that fails for no known reason is', async () => {
  const { port, logged } = await failing()
  const ask = (path: string): Promise<Response> =>
    fetch(`http://127.0.0.1:${port}${path}`, { headers: { authorization: 'x' } })
  const away = await ask('/away')
  expect(away.status).toBe(503)
  expect(Number(away.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  expect(logged).toEqual([])
  expect((await ask('/broken')).status).toBe(500)
  expect(logged).toEqual([expect.objectContaining({ message: 'broken', route: '/broken' })])
})

test('who cannot be let in because nobody knows who may is told when to come again', async () => {
  const admission = { ok: false, status: 503, code: 'access_unavailable', detail: 'try again' } as const
  const { port } = await startBareGateway({ app: { access: { admit: async () => admission } } })
  const answer = await fetch(`http://127.0.0.1:${port}/bytes`, { method: 'POST', body: '{}' })
  expect(answer.status).toBe(503)
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
})

test('what a body is said to have is looked at before anybody pays for it', async () => {
  const paid: number[] = []
  const { port } = await startBareGateway({
    app: {
      limits: {
        async take(_who, { bytes }) {
          paid.push(bytes)
          return { ok: true, standings: [], retryAfterSeconds: 0 }
        },
        giveBack: async () => {},
        enter: () => () => {},
      },
    },
    plugins: [(app) => void app.get('/none', { config: { scope: 'read' } }, async () => ({}))],
  })
  for (const length of ['9000000000000000', '18446744073709551615', '1048577']) {
    const get = HEAD.replace('POST /bytes', 'GET /none')
    for (const head of [HEAD, get]) {
      const answer = await sendRaw(port, [`${head}content-length: ${length}\r\n\r\n{}`])
      expect(answer.statuses, `${head} ${length}`).toEqual([413])
      expect(answer.text).toContain('body_too_large')
    }
  }
  expect(paid).toEqual([])
})
