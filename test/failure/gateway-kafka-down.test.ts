import { setTimeout as delay } from 'node:timers/promises'
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
const DOWN_MS = 4_000

test('Kafka away is 503 and never 202; what was answered 202 is in Kafka exactly once when it is back', {
  timeout: 120_000,
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

  const phases = new Map<string, 'up' | 'down' | 'back'>()
  let phase: 'up' | 'down' | 'back' = 'up'
  const counts = { up: 0, down: 0, back: 0 }
  const stop = new AbortController()
  const sending = sendEvents(
    {
      ...{ url: () => gateway.url, pipeline: name, key, senders: 8 },
      onAnswer({ id, status }) {
        phases.set(id, phase)
        if (status === 202) counts[phase] += 1
      },
    },
    stop.signal,
  )
  await eventually(() => expect(counts.up).toBeGreaterThan(20), { deadlineMs: 30_000 })
  broker.proxy.inject({ kind: 'stall', direction: 'toServer' })
  // an acknowledgement that was on its way may still be answered
  await delay(500)
  phase = 'down'
  await delay(DOWN_MS)
  // requests that wait now may be acknowledged when it is back
  const downAccepted = counts.down
  phase = 'back'
  broker.proxy.heal()
  await eventually(() => expect(counts.back).toBeGreaterThan(20), { deadlineMs: 60_000 })
  stop.abort()
  const sent = await sending

  const during = sent.filter(({ id }) => phases.get(id) === 'down')
  expect(downAccepted).toBe(0)
  expect(during.length).toBeGreaterThan(0)
  expect(during.every(({ status, retryAfter }) => status === 503 && Number(retryAfter) > 0)).toBe(true)
  expect(new Set(sent.map(({ status }) => status))).toEqual(new Set([202, 503]))

  const stored = await readTopic<{ event_id: string }>(broker.direct, pipeline.event.topic, pipeline.event.schema)
  const times = new Map<string, number>()
  for (const { value } of stored) times.set(value.event_id, (times.get(value.event_id) ?? 0) + 1)
  const timesOf = ({ id }: SentEvent): number => times.get(id) ?? 0
  const accepted = sent.filter(({ status }) => status === 202)
  expect(accepted.filter((event) => timesOf(event) !== 1)).toEqual([])
  // whoever was told 503 does not know: it is there once or not at all
  expect(sent.filter((event) => timesOf(event) > 1)).toEqual([])
  gateway.signal('SIGTERM')
  expect(await gateway.exited).toBe(0)
})
