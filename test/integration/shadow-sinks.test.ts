import { expect, inject, onTestFinished, test } from 'vitest'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig } from '../../infra/runtime/config.ts'
import { startControlLog } from '../../infra/runtime/control/start-control-log.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { registerContract } from '../../infra/runtime/stage-contracts.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { stageTopic } from '../../schemas/topics.ts'
import { auditOf } from '../support/audit-of.ts'
import { eventually } from '../support/eventually.ts'
import { lanesOn } from '../support/lanes-on-kafka.ts'
import { copyPipeline, ORDERS } from '../support/pipeline-copy.ts'
import { predictionOf } from '../support/predictions.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { spawnNode } from '../support/spawn-process.ts'
import { uniqueName } from '../support/unique-name.ts'

// What sinks store beside the account: predictions of shadows, and the control log that all pipelines share.

const env = inject('stack').env
const settings = readConfig(CONNECTIONS, env)
const DEADLINE = { deadlineMs: 120_000 }

async function kafka() {
  const own = await lanesOn(kafkaConfig(settings).brokers)
  onTestFinished(() => own.stop())
  const deps = { connections: own.connections, clock: systemClock, logger: silentLogger }
  const writer = createIdempotentWriter(deps)
  onTestFinished(() => writer.stop())
  return { ...own, writer: writer.value, registry: createSchemaRegistry(registryConfig(settings)) }
}

test('predictions of a shadow are stored apart, and leave the account as it is', { timeout: 600_000 }, async () => {
  const { name, folder } = copyPipeline(ORDERS)
  const run = await runPipeline(folder, env, { partitions: 2, start: false })
  run.startStage('sinks')
  const { writer, registry } = await kafka()
  const topic = stageTopic(name, 'shadow')
  const { type, schemaId } = await registerContract({ registry }, 'prediction', topic)
  const records = Array.from({ length: 20 }, (_, offset) => ({
    key: Buffer.from(`key ${offset}`),
    value: type.encode(schemaId, predictionOf({ role: 'shadow', origin_offset: offset, model_version: '9' })),
  }))
  const broken = { key: null, value: Buffer.from('no prediction') }
  await writer.write([{ topic, partition: 1, records: [...records, broken] }])

  await eventually(async () => {
    const rows = await run.clickhouse.rows(
      `SELECT toUInt32(count()) AS stored, toUInt32(uniqExact(origin_offset)) AS events, any(role) AS role, any(kafka_partition) AS lane
       FROM shadow_predictions WHERE pipeline = {name:String}`,
      { name },
    )
    expect(rows).toEqual([{ stored: 20, events: 20, role: 'shadow', lane: 1 }])
    const letters = await run.clickhouse.rows(
      'SELECT topic, kind, reason FROM dead_letters FINAL WHERE pipeline = {name:String}',
      { name },
    )
    expect(letters).toEqual([{ topic, kind: 'unstored', reason: 'not_avro' }])
  }, DEADLINE)
  expect(await run.clickhouse.rows('SELECT 1 FROM predictions WHERE pipeline = {name:String}', { name })).toEqual([])
  expect(await auditOf(run, env)).toMatchObject({ problems: [], totals: { predictions: { records: 0, unstored: 0 } } })
  expect(await run.account()).toMatchObject({ events: 0, missing: 0, duplicates: 0 })
})

test('the control log is stored once, by whichever sinks are there', { timeout: 600_000 }, async () => {
  const pipelines = [copyPipeline(ORDERS), copyPipeline(ORDERS)]
  const runs = []
  for (const { folder } of pipelines) runs.push(await runPipeline(folder, env, { partitions: 1, start: false }))
  const [one, other] = runs
  if (one === undefined || other === undefined) throw new Error('two pipelines are needed')
  const sinks = [one.startStage('sinks'), other.startStage('sinks')]
  const { connections, logReader, writer, registry } = await kafka()
  const deps = { brokers: connections, log: logReader, writer, registry, clock: systemClock, logger: silentLogger }
  const control = await startControlLog(deps)
  onTestFinished(() => control.stop())
  const subject = uniqueName('subject')
  const say = async (text: string) => {
    const basedOn = control.value.latest('profile', subject)?.revision ?? null
    await control.value.append({
      kind: 'profile',
      name: subject,
      basedOn,
      value: { text },
      actor: 'a test',
      reason: 'why',
    })
  }
  const stored = () =>
    one.clickhouse.rows<{ value: string; reason: string }>(
      'SELECT value, reason FROM control_log WHERE name = {subject:String} ORDER BY kafka_offset',
      { subject },
    )
  const rowsOf = (...texts: readonly string[]) => texts.map((text) => ({ value: `{"text":"${text}"}`, reason: 'why' }))

  await say('first')
  await say('second')
  await eventually(async () => expect(await stored()).toEqual(rowsOf('first', 'second')), DEADLINE)
  // each of them in turn is the one that is left
  for (const [at, text] of ['third', 'fourth'].entries()) {
    await sinks[at]?.stop()
    await say(text)
    const all = rowsOf(...['first', 'second', 'third', 'fourth'].slice(0, 3 + at))
    await eventually(async () => expect(await stored()).toEqual(all), DEADLINE)
    sinks[at] = (at === 0 ? one : other).startStage('sinks')
  }

  const shown = spawnNode(['infra/cli/main.ts', 'positions', pipelines[0]?.folder ?? '', 'show'], { env })
  expect(await shown.exited, shown.output()).toBe(0)
  expect(shown.output()).toMatch(
    new RegExp(
      `sinks.control {2}group millrace.sinks.control.${settings.clickhouseDatabase} {2}topic millrace.control\\n {2}0 {2}at`,
    ),
  )
  expect(shown.output()).toContain(`sinks.shadow  group ${pipelines[0]?.name}.sinks.shadow`)
})
