import { expect, inject, onTestFinished, test } from 'vitest'
import { freePorts } from '../../infra/local/ports.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig } from '../../infra/runtime/config.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { registerContract } from '../../infra/runtime/stage-contracts.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { ALERTS_TOPIC, consumerGroup, stageTopic, valueSubject } from '../../schemas/topics.ts'
import { signatureOf } from '../../sinks/drift/alerts/webhook.ts'
import { eventually } from '../support/eventually.ts'
import { lanesOn } from '../support/lanes-on-kafka.ts'
import { copyPipeline, ORDERS } from '../support/pipeline-copy.ts'
import { predictionOf } from '../support/predictions.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { webhookReceiver } from '../support/webhook-receiver.ts'
import { writtenAlerts } from '../support/written-alerts.ts'

// A pipeline whose concept changes while its inputs stay as they are, from Kafka to whoever is told: labels come late and are corrected, the
// sinks are killed in between, two of them run, and the receiver fails.

const { env } = inject('stack')
const settings = readConfig(CONNECTIONS, env)
const DEADLINE = { deadlineMs: 180_000 }
const HOUR = 3_600_000
const START = Date.UTC(2026, 0, 5)
const PER_HOUR = 40
const SECRET = 'a secret of the test'

const MONITOR = `monitor: {
    pane: '5m',
    window: '1h',
    minRows: 20,
    consecutive: 2,
    alerts: { wrong: { severity: 'critical', quality: { metric: 'accuracy', below: 0.7 } } },
  },
})`

/** An order is refused or not, and the score is the chance that it is accepted. */
const edit = (source: string): string =>
  source
    .replace('(label) => label.outcome,', "(label) => label.outcome === 'accept',")
    .replace(/\}\)\s*$/, `${MONITOR}\n`)

interface Order {
  readonly id: string
  readonly at: number
  readonly score: number
}

const ordersOf = (hour: number): readonly Order[] =>
  Array.from({ length: PER_HOUR }, (_, index) => ({
    id: `order-${hour}-${index}`,
    at: START + hour * HOUR + index * 60_000,
    score: index % 2 === 0 ? 0.9 : 0.1,
  }))

test('an alert fires once and is resolved once, and whoever is to be told is told', { timeout: 900_000 }, async () => {
  const { name, folder } = copyPipeline(ORDERS, edit)
  const receiver = await webhookReceiver([503, 'hang'])
  const [opsPort = 0] = await freePorts(1)
  const variables = {
    MILLRACE_DRIFT_INTERVAL_MS: '200',
    MILLRACE_WEBHOOK_URL: receiver.url,
    MILLRACE_WEBHOOK_SECRET: SECRET,
    MILLRACE_OPS_PORT: String(opsPort),
  }
  const run = await runPipeline(folder, { ...env, ...variables }, { partitions: 1, start: false })
  const kafka = await lanesOn(kafkaConfig(settings).brokers)
  onTestFinished(() => kafka.stop())
  const deps = { connections: kafka.connections, clock: systemClock, logger: silentLogger }
  const writer = createIdempotentWriter(deps)
  onTestFinished(() => writer.stop())
  const registry = createSchemaRegistry(registryConfig(settings))
  const predictions = await registerContract({ registry }, 'prediction', stageTopic(name, 'predictions'))
  const { label } = run.pipeline
  if (label === null) throw new Error('orders have labels')
  const labelType = parseAvroSchema(label.schema, 'label')
  const labelSchemaId = await registry.register(valueSubject(label.topic), label.schema)
  let offset = 0

  async function predict(orders: readonly Order[]): Promise<void> {
    const records = orders.map(({ id, at, score }) => ({
      key: Buffer.from(id),
      value: predictions.type.encode(
        predictions.schemaId,
        predictionOf({ event_id: id, tenant: 'shop', event_time: at, score, origin_offset: offset++, segment: '' }),
      ),
    }))
    await writer.value.write([{ topic: stageTopic(name, 'predictions'), partition: 0, records }])
  }

  /** `right`: what came is what the score said. */
  async function decide(orders: readonly Order[], right: boolean, lagHours: number): Promise<void> {
    const records = orders.map(({ id, at, score }) => ({
      key: Buffer.from(id),
      value: labelType.encode(labelSchemaId, {
        order_id: id,
        outcome: score > 0.5 === right ? 'accept' : 'refuse',
        decided_at: at + lagHours * HOUR,
      }),
    }))
    await writer.value.write([{ topic: label?.topic ?? '', partition: 0, records }])
  }

  const alerts = () => writtenAlerts(kafka.logReader, ALERTS_TOPIC, name)
  const accuracy = async () => {
    const rows = await run.clickhouse.rows<{ hour: number; value: number }>(
      `SELECT toUInt32((toUnixTimestamp(window_start) - ${START / 1_000}) / 3600) AS hour, value FROM quality_scores FINAL
       WHERE pipeline = {name:String} AND metric = 'accuracy' AND segment = '*' AND known_after_hours = 65535 AND status = 'ok' AND closed
       ORDER BY hour`,
      { name },
    )
    return rows.map(({ hour, value }) => [hour, value])
  }

  run.startStage('sinks')
  await eventually(async () => {
    const committed = await run.admin.committed(consumerGroup(name, 'sinks.webhook'), ALERTS_TOPIC)
    expect(committed.get(0)).toBeTypeOf('number')
  }, DEADLINE)

  const hours = Array.from({ length: 6 }, (_, hour) => ordersOf(hour))
  for (const orders of [...hours, ordersOf(7)]) await predict(orders)
  await decide(hours.slice(0, 2).flat(), true, 1)
  await eventually(
    async () =>
      expect(await accuracy()).toEqual([
        [0, 1],
        [1, 1],
      ]),
    DEADLINE,
  )
  expect(await alerts()).toEqual([])

  // the same inputs, another truth; half of it comes at once, half of it when the process that watches has been killed
  await decide(hours[2] ?? [], false, 3)
  await eventually(
    async () =>
      expect(await accuracy()).toEqual([
        [0, 1],
        [1, 1],
        [2, 0],
      ]),
    DEADLINE,
  )
  expect(await alerts()).toEqual([])
  run.stage('sinks').kill('SIGKILL')
  await decide(hours[3] ?? [], false, 30)
  await eventually(async () => expect(await alerts()).toHaveLength(1), DEADLINE)
  const [firing] = await alerts()
  expect(firing).toMatchObject({ rule: 'wrong', state: 'firing', severity: 'critical', at: START + 4 * HOUR })
  expect(await run.clickhouse.rows(firing?.evidence_sql ?? '')).toMatchObject([
    { metric: 'accuracy', value: 0, segment: '*' },
    { metric: 'accuracy', value: 0, segment: '*' },
  ])
  await eventually(async () => {
    const text = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text()
    expect(text).toMatch(new RegExp(`millrace_alert_firing\\{[^}]*pipeline="${name}"[^}]*rule="wrong"[^}]*\\} 1`))
  }, DEADLINE)

  // what was said to be wrong was right after all: a correction takes back no alert, and the hours behind it resolve it
  await decide(hours.slice(2, 4).flat(), true, 50)
  await eventually(async () => expect(await accuracy()).toEqual([0, 1, 2, 3].map((hour) => [hour, 1])), DEADLINE)
  run.stage('sinks').kill('SIGKILL')
  await decide(hours.slice(4, 6).flat(), true, 2)
  await eventually(async () => expect(await alerts()).toHaveLength(2), DEADLINE)
  expect((await alerts())[1]).toMatchObject({ rule: 'wrong', state: 'resolved', at: START + 6 * HOUR })

  await eventually(async () => {
    const stored = await run.clickhouse.rows(
      'SELECT rule, state, severity FROM alerts FINAL WHERE pipeline = {name:String} ORDER BY kafka_offset',
      { name },
    )
    expect(stored).toEqual([
      { rule: 'wrong', state: 'firing', severity: 'critical' },
      { rule: 'wrong', state: 'resolved', severity: 'critical' },
    ])
    const told = receiver.received.filter(({ status }) => status === 204).map(({ body }) => JSON.parse(body))
    expect(told.at(-1)).toMatchObject({ pipeline: name, state: 'resolved' })
  }, DEADLINE)
  const ids = new Map(
    receiver.received.map(({ body }) => [JSON.parse(body).id as string, JSON.parse(body).state as string]),
  )
  expect([...ids.values()]).toEqual(['firing', 'resolved'])
  expect(receiver.received.length).toBeGreaterThanOrEqual(3)
  for (const { headers, body } of receiver.received) {
    const timestamp = String(headers['millrace-webhook-timestamp'])
    expect(headers['millrace-webhook-signature']).toBe(signatureOf(SECRET, timestamp, body))
  }
})
