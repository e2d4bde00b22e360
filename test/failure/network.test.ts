import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from 'vitest'
import { createSupervisor } from '../../infra/local/supervisor.ts'
import { createScope } from '../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { type Deployment, deploy } from '../support/chaos/deployment.ts'
import { STAGES } from '../support/chaos/plan.ts'
import { eventually } from '../support/eventually.ts'
import { randomFault } from '../support/fault-proxy.ts'
import { createBrokerErrors, everyRetriableError } from '../support/kafka-faults/broker-errors.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { type ProxiedBroker, startProxiedBroker } from '../support/proxied-broker.ts'
import { seededRandom } from '../support/seeded-random.ts'

// The stages reach their broker through a proxy; whoever checks them does not.

const SEED = 41
const STEP = 100
const QUIET_MS = 180_000
const FAULTS = 15
const UNTIL_ALL_ARE_TOLD_MS = 300_000
const WITHOUT_FAULT = { settled: true, verdict: expect.objectContaining({ exact: true, examples: [] }) }

const errors = createBrokerErrors(everyRetriableError(), 2)
let broker: ProxiedBroker
beforeAll(async () => {
  broker = await startProxiedBroker({ relay: errors.relay })
})
afterAll(() => broker.stop())

/** All stages of a pipeline of the test's own, which end with it. */
async function stagesBehindProxy(): Promise<Deployment> {
  const scope = createScope(silentLogger)
  onTestFinished(() => scope.close())
  const { folder, name } = copyPipeline(FLIGHTS)
  const supervisor = await scope.start('supervisor', async () => {
    const value = createSupervisor()
    return { value, stop: () => value.stop() }
  })
  const env = { ...inject('stack').env, KAFKA_BROKERS: broker.direct }
  const deployment = await deploy(
    scope,
    { env, supervisor },
    {
      folder,
      partitions: 4,
      random: seededRandom(SEED).fork('events'),
      logDir: `.millrace/test-logs/${name}`,
      env: { KAFKA_BROKERS: broker.proxied, MILLRACE_SESSION_TIMEOUT_MS: '2000' },
      say: () => {},
    },
  )
  for (const stage of STAGES) deployment.driver.start(stage)
  return deployment
}

const outcome = async ({ settled, ledger }: Deployment) => ({
  settled: await settled(QUIET_MS),
  verdict: await ledger(),
})
const never = new AbortController().signal

test('a broker that answers every retriable error of every request once: nothing is lost, nothing is there twice', {
  timeout: 900_000,
}, async () => {
  const deployment = await stagesBehindProxy()
  const { feed } = deployment
  await eventually(
    async () => {
      await feed.send(STEP, never)
      expect(errors.left()).toEqual([])
    },
    { deadlineMs: UNTIL_ALL_ARE_TOLD_MS },
  )
  await feed.send(STEP, never)
  expect(await outcome(deployment)).toEqual(WITHOUT_FAULT)
})

test('connections cut, reset, stalled, slowed, half-open and robbed of their answers: nothing is lost, nothing is there twice', {
  timeout: 900_000,
}, async () => {
  const random = seededRandom(SEED).fork('faults')
  const deployment = await stagesBehindProxy()
  const { feed } = deployment
  for (let fault = 0; fault < FAULTS; fault++) {
    await feed.send(random.between(STEP, 10 * STEP), never)
    broker.proxy.inject(randomFault(random))
    await feed.send(random.between(STEP, 10 * STEP), never)
    await delay(random.between(100, 3_000))
    broker.proxy.heal()
    await delay(random.between(100, 1_000))
  }
  expect(await outcome(deployment)).toEqual(WITHOUT_FAULT)
})
