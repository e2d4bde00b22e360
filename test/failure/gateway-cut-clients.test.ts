import { expect, inject, onTestFinished, test } from 'vitest'
import { type CutPoint, cutRequest } from '../support/cut-client.ts'
import { eventually } from '../support/eventually.ts'
import { flightEvent } from '../support/gateway-events.ts'
import { issueKey } from '../support/gateway-keys.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { openTcpGate } from '../support/tcp-gate.ts'

const POINTS: readonly CutPoint[] = [
  ...[0, 0.1, 0.5, 0.99].map((share) => ({ at: 'headers', share }) as const),
  ...[0, 0.5, 0.99].map((share) => ({ at: 'body', share }) as const),
  { at: 'sent' },
  ...[1, 40, 200].map((bytes) => ({ at: 'answer', bytes }) as const),
]
const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

test('a client that was cut anywhere and tries again with its idempotency key has one prediction, with its trace', {
  timeout: 600_000,
}, async () => {
  const { env } = inject('stack')
  const { folder, name } = copyPipeline(FLIGHTS, (source) =>
    source.replace('  features:', '  dedupe: { window: 1000 },\n  features:'),
  )
  const run = await runPipeline(folder, env, { partitions: 2, start: false })
  for (const stage of ['fused', 'sinks'] as const) run.startStage(stage)
  const key = await issueKey(env)
  const redis = new URL(env['REDIS_URL'] ?? '')
  const gate = await openTcpGate({ host: redis.hostname, port: Number(redis.port) })
  onTestFinished(() => gate.close())
  const url = `redis://127.0.0.1:${gate.port}`
  const gateway = await startGatewayProcess(folder, { ...env, REDIS_URL: url })
  const path = `/v1/pipelines/${name}/events`
  const body = JSON.stringify(flightEvent())
  const headersOf = (idempotencyKey: string) => ({
    ...{ authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...{ 'idempotency-key': idempotencyKey, traceparent: TRACE },
  })
  const retry = async (idempotencyKey: string) => {
    const response = await fetch(gateway.url + path, { method: 'POST', headers: headersOf(idempotencyKey), body })
    return { status: response.status, answer: (await response.json()) as { event_id: string; request_id: string } }
  }

  async function cutAndRetry(prefix: string): Promise<string[]> {
    const keys = POINTS.map((_, index) => `${prefix}-${index}`)
    for (const [index, point] of POINTS.entries()) {
      const idempotencyKey = keys[index] as string
      const headers = headersOf(idempotencyKey)
      await cutRequest({ port: gateway.port, path, headers, body }, point)
      const first = await retry(idempotencyKey)
      expect(first, JSON.stringify(point)).toMatchObject({ status: 202, answer: { event_id: idempotencyKey } })
      expect((await retry(idempotencyKey)).status).toBe(202)
    }
    return keys
  }

  const keys = await cutAndRetry('with-redis')
  await gate.shut()
  keys.push(...(await cutAndRetry('without-redis')))
  await gate.open()

  const account = await eventually(
    async () => {
      const now = await run.account()
      expect(now.missing).toBe(0)
      return now
    },
    { deadlineMs: 180_000 },
  )
  expect(account).toMatchObject({ predicted: keys.length, duplicates: 0 })
  // without Redis every retry is published again: dedupe tells them apart
  expect(account.events).toBeGreaterThan(keys.length)
  const predicted = await run.clickhouse.rows<{ event_id: string; traceparent: string }>(
    'SELECT event_id, traceparent FROM predictions FINAL WHERE pipeline = {name:String}',
    { name },
  )
  expect(predicted.map(({ event_id }) => event_id).sort()).toEqual(keys.toSorted())
  expect(new Set(predicted.map(({ traceparent }) => traceparent))).toEqual(new Set([TRACE]))

  // what is billed is what is in Kafka, also when nobody was there to be told
  gateway.signal('SIGTERM')
  expect(await gateway.exited).toBe(0)
  const { events } = await run.account()
  await eventually(
    async () => {
      const usage = await run.clickhouse.rows<{ tenant: string; events: string }>(
        'SELECT tenant, events FROM gateway_usage WHERE pipeline = {name:String}',
        { name },
      )
      expect(usage).toEqual([{ tenant: 'default', events: String(events) }])
    },
    { deadlineMs: 60_000 },
  )
})
