import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig, STAGE } from '../../infra/runtime/config.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import { createScope, type Scope } from '../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { Alert } from '../../schemas/generated/records.ts'
import { type AlertLog, type RuleStates, startAlertLog } from '../../sinks/drift/alerts/alert-log.ts'
import { eventually } from '../support/eventually.ts'
import { type LanesOnKafka, lanesOn } from '../support/lanes-on-kafka.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { uniqueName } from '../support/unique-name.ts'
import { writtenAlerts } from '../support/written-alerts.ts'

// The log of alerts on a real broker and registry: one record per change, whoever writes.

const { env } = inject('stack')
const settings = readConfig(CONNECTIONS, env)
const config = readConfig(STAGE, { MILLRACE_PIPELINE: '/nowhere' })
const { brokers } = kafkaConfig(settings)
const { signal } = new AbortController()
const CHANGES = 8
const random = seededRandom(1)

const scope: Scope = createScope(silentLogger)
let kafka: LanesOnKafka
beforeAll(async () => {
  kafka = await lanesOn(brokers)
})
afterAll(async () => {
  await scope.close()
  await kafka?.stop()
})

async function newTopic(): Promise<string> {
  const name = uniqueName('alerts')
  const topic = { name, partitions: 1, replicas: 1, config: { 'message.timestamp.type': 'LogAppendTime' } }
  await eventually(() => kafka.admin.createTopic(topic), { deadlineMs: 60_000 })
  return name
}

/** A process of its own; `stored` = what ClickHouse says of rules. */
async function logOf(topic: string, pipeline: string, stored: readonly object[] = []): Promise<AlertLog> {
  const own = await lanesOn(brokers)
  await scope.start('lanes', async () => ({ value: own, stop: () => own.stop() }))
  return await scope.start('alerts', () =>
    startAlertLog({
      brokers: own.connections,
      log: own.logReader,
      registry: createSchemaRegistry(registryConfig(settings)),
      clock: systemClock,
      logger: silentLogger,
      config,
      pipeline,
      clickhouse: { rows: async <T>() => stored as readonly T[] },
      topic,
    }),
  )
}

function alert(pipeline: string, step: number): Alert {
  const state = step % 2 === 1 ? 'firing' : 'resolved'
  return { pipeline, rule: 'drift', state, severity: 'warning', message: '', evidence_sql: '', at: step }
}

/** The change behind the last one. */
const next =
  (pipeline: string) =>
  async (states: RuleStates): Promise<readonly Alert[]> => {
    const step = (states.get('drift')?.until ?? 0) + 1
    return step > CHANGES ? [] : [alert(pipeline, step)]
  }

const written = (topic: string, pipeline: string) => writtenAlerts(kafka.logReader, topic, pipeline)

test('each change is written once, however many write at once', { timeout: 300_000 }, async () => {
  const topic = await newTopic()
  const pipelines = ['one', 'one', 'one', 'other']
  const logs = await Promise.all(pipelines.map((pipeline) => logOf(topic, pipeline)))
  await Promise.all(
    logs.map(async (log, index) => {
      const pipeline = pipelines[index] ?? ''
      for (let mostMs = 500; ; mostMs *= 2) {
        try {
          const alerts = await log.append(next(pipeline), signal)
          if (alerts.length === 0) return
        } catch (error) {
          // somebody else was faster; without longer and longer pauses they could fence each other for ever
          expect(describeError(error).code).toBe('lane_fenced')
          await systemClock.sleep(random.between(1, mostMs))
        }
      }
    }),
  )
  const all = Array.from({ length: CHANGES }, (_, index) => index + 1)
  expect(await written(topic, 'one')).toEqual(all.map((step) => alert('one', step)))
  expect(await written(topic, 'other')).toEqual(all.map((step) => alert('other', step)))
  for (const log of logs)
    expect((await log.states(signal)).get('drift')).toMatchObject({ state: 'resolved', until: CHANGES })
})

test('who was held up while another wrote is refused, and sees what was written', { timeout: 300_000 }, async () => {
  const topic = await newTopic()
  const [zombie, successor] = [await logOf(topic, 'one'), await logOf(topic, 'one')]
  const late = zombie.append(async (states) => {
    const decided = await next('one')(states)
    await successor.append(next('one'), signal)
    return decided
  }, signal)
  await expect(late).rejects.toMatchObject({ code: 'lane_fenced', fate: 'retry' })
  expect(await written(topic, 'one')).toEqual([alert('one', 1)])
  expect(await zombie.append(next('one'), signal)).toEqual([alert('one', 2)])
  expect(await written(topic, 'one')).toEqual([alert('one', 1), alert('one', 2)])
})

test('what the topic does not keep any more is known from the table', { timeout: 300_000 }, async () => {
  const topic = await newTopic()
  const old = { rule: 'drift', state: 'firing', until: 7, at: Date.now() - 40 * 86_400_000 }
  const log = await logOf(topic, 'one', [old])
  expect((await log.states(signal)).get('drift')).toMatchObject({ state: 'firing', until: 7 })
  expect(await log.append(next('one'), signal)).toEqual([alert('one', 8)])
  const restarted = await logOf(topic, 'one', [old])
  expect((await restarted.states(signal)).get('drift')).toMatchObject({ state: 'resolved', until: 8 })
})
