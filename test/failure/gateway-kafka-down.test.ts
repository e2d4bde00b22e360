import { expect, inject, onTestFinished, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { type SentEvent, sendEvents } from '../support/gateway-events.ts'
import { issueKey } from '../support/gateway-keys.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { startProxiedBroker } from '../support/proxied-broker.ts'
import { readTopic } from '../support/read-topic.ts'
import { runPipeline } from '../support/running-pipeline.ts'

const PUBLISH_MS = 1_000
const SENDERS = 8

test('Kafka away is 503 and never 202; what was answered 202 is in Kafka exactly once when it is back', {
  timeout: 300_000,
}, async () => {
  const broker = await startProxiedBroker()
  onTestFinished(() => broker.stop())
  const { env: stack } = inject('stack')
  const env = { ...stack, KAFKA_BROKERS: broker.direct }
  const { folder, name } = copyPipeline(FLIGHTS)
  const { pipeline } = await runPipeline(folder, env, { start: false })
  const key = await issueKey(env)
  const gateway = await startGatewayProcess(folder, {
    ...env,
    KAFKA_BROKERS: broker.proxied,
    MILLRACE_GATEWAY_PUBLISH_MS: String(PUBLISH_MS),
  })

  let stalledAt = Number.POSITIVE_INFINITY
  let healedAt = Number.POSITIVE_INFINITY
  const accepted = { up: 0, back: 0 }
  /** Sent and answered while nothing got through. */
  const during: SentEvent[] = []
  const stop = new AbortController()
  const sending = sendEvents(
    {
      ...{ url: () => gateway.url, pipeline: name, key, senders: SENDERS },
      onAnswer(event) {
        const { status, sentAt } = event
        if (healedAt < sentAt) accepted.back += status === 202 ? 1 : 0
        else if (stalledAt > sentAt) accepted.up += status === 202 ? 1 : 0
        else if (healedAt === Number.POSITIVE_INFINITY) during.push(event)
      },
    },
    stop.signal,
  )
  await eventually(() => expect(accepted.up).toBeGreaterThan(20), { deadlineMs: 60_000 })
  broker.proxy.inject({ kind: 'stall', direction: 'toServer' })
  // what was sent before may still be acknowledged
  stalledAt = performance.now()
  await eventually(() => expect(during.length).toBeGreaterThan(3 * SENDERS), { deadlineMs: 60_000 })
  // requests that wait now may be acknowledged when it is back
  healedAt = performance.now()
  broker.proxy.heal()
  await eventually(() => expect(accepted.back).toBeGreaterThan(20), { deadlineMs: 60_000 })
  stop.abort()
  const sent = await sending

  expect(during.every(({ status, retryAfter }) => status === 503 && Number(retryAfter) > 0)).toBe(true)
  expect(new Set(sent.map(({ status }) => status))).toEqual(new Set([202, 503]))

  const stored = await readTopic<{ event_id: string }>(broker.direct, pipeline.event.topic, pipeline.event.schema)
  const times = new Map<string, number>()
  for (const { value } of stored) times.set(value.event_id, (times.get(value.event_id) ?? 0) + 1)
  const timesOf = ({ id }: SentEvent): number => times.get(id) ?? 0
  expect(sent.filter((event) => event.status === 202 && timesOf(event) !== 1)).toEqual([])
  // whoever was told 503 does not know: it is there once or not at all
  expect(sent.filter((event) => timesOf(event) > 1)).toEqual([])
  gateway.signal('SIGTERM')
  expect(await gateway.exited).toBe(0)
})
