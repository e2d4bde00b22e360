import { expect, inject, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { flightEvent } from '../support/gateway-events.ts'
import { issueKey } from '../support/gateway-keys.ts'
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { readTopic } from '../support/read-topic.ts'
import { createRollingClient } from '../support/rolling-client.ts'
import { runPipeline } from '../support/running-pipeline.ts'

const GATEWAYS = 3
const TERMINATIONS = 20
const SENDERS = 6
/** Longer than a sender on a busy machine is silent between two requests: within it each is told to go. */
const DRAIN_MS = 1_000

test('gateways that are stopped under load and started again fail no request, and lose and double nothing', {
  timeout: 600_000,
}, async () => {
  const { env } = inject('stack')
  const { folder, name } = copyPipeline(FLIGHTS)
  const { pipeline } = await runPipeline(folder, env, { start: false })
  const key = await issueKey(env)
  const start = (port?: number): Promise<GatewayProcess> =>
    startGatewayProcess(folder, { ...env, MILLRACE_GATEWAY_DRAIN_MS: String(DRAIN_MS) }, port)
  const gateways = await Promise.all(Array.from({ length: GATEWAYS }, () => start()))
  const ports = gateways.map(({ port }) => port)

  const stop = new AbortController()
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const sending = Array.from({ length: SENDERS }, (_, index) =>
    createRollingClient(`sender-${index}`, ports, index).send(
      `/v1/pipelines/${name}/events`,
      headers,
      (id) => JSON.stringify(flightEvent(id)),
      stop.signal,
    ),
  )

  const running = gateways.map((gateway) => Promise.resolve(gateway))
  for (let round = 0; round < TERMINATIONS; round++) {
    const index = round % GATEWAYS
    // there is always one that serves: the next one is ready
    const gateway = (await running[index]) as GatewayProcess
    await running[(index + 1) % GATEWAYS]
    gateway.signal('SIGTERM')
    await eventually(async () => expect((await ready(gateway.url)) !== 200).toBe(true), { deadlineMs: 30_000 })
    expect(await gateway.exited).toBe(0)
    running[index] = start(gateway.port)
  }
  await Promise.all(running)
  stop.abort()
  const sent = await Promise.all(sending)

  expect(sent.flatMap(({ failures }) => failures)).toEqual([])
  const answers = new Map(sent.flatMap((one) => [...one.answers]))
  expect(new Set(answers.values())).toEqual(new Set([202]))
  expect(answers.size).toBeGreaterThan(TERMINATIONS * SENDERS)
  const brokers = env['KAFKA_BROKERS'] ?? ''
  const stored = await readTopic<{ event_id: string }>(brokers, pipeline.event.topic, pipeline.event.schema)
  expect(stored.map(({ value }) => value.event_id).sort()).toEqual([...answers.keys()].sort())
})

/** Null when nobody listens any more. */
async function ready(url: string): Promise<number | null> {
  try {
    return (await fetch(`${url}/ready`)).status
  } catch {
    return null
  }
}
