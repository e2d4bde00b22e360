import { expect, inject, onTestFinished, test } from 'vitest'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig } from '../../infra/runtime/config.ts'
import { startControlLog } from '../../infra/runtime/control/start-control-log.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { registerContract } from '../../infra/runtime/stage-contracts.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { stageTopic } from '../../schemas/topics.ts'
import { auditPanes } from '../../sinks/commands/audit-panes.ts'
import { digestOfProfile } from '../../sinks/drift/profiles/profile-entries.ts'
import { usual, usualProfile } from '../support/drift-data.ts'
import { paneTotals } from '../support/drift-part.ts'
import { eventually } from '../support/eventually.ts'
import { lanesOn } from '../support/lanes-on-kafka.ts'
import { copyPipeline, ORDERS } from '../support/pipeline-copy.ts'
import { predictionOf } from '../support/predictions.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { type Moment, openStatementProxy } from '../support/statement-proxy.ts'

// The stage itself: predictions in Kafka become panes and scores, whichever of two processes watches, and wherever it is killed.

const stack = inject('stack').env
const env = { ...stack, MILLRACE_DRIFT_INTERVAL_MS: '200', MILLRACE_SESSION_TIMEOUT_MS: '3000' }
const settings = readConfig(CONNECTIONS, env)
const DEADLINE = { deadlineMs: 180_000 }

/** A deployed pipeline with a profile in force, whose predictions the test writes. */
async function watchedPipeline(clickhouseUrl?: string) {
  const { name, folder } = copyPipeline(ORDERS)
  const run = await runPipeline(folder, clickhouseUrl === undefined ? env : { ...env, CLICKHOUSE_URL: clickhouseUrl }, {
    partitions: 2,
    start: false,
  })
  const { connections, logReader, stop } = await lanesOn(kafkaConfig(settings).brokers)
  onTestFinished(() => stop())
  const deps = { connections, clock: systemClock, logger: silentLogger }
  const writer = createIdempotentWriter(deps)
  onTestFinished(() => writer.stop())
  const registry = createSchemaRegistry(registryConfig(settings))
  const of = {
    brokers: connections,
    log: logReader,
    writer: writer.value,
    registry,
    clock: systemClock,
    logger: silentLogger,
  }
  const control = await startControlLog(of)
  onTestFinished(() => control.stop())
  const content = usualProfile(5_000)
  const value = { pipeline: name, profile: 'spring', state: 'accepted', digest: digestOfProfile(content), content }
  const actor = { actor: 'a test', reason: 'why' }
  await control.value.append({ kind: 'profile', name: `${name}/spring`, basedOn: null, value, ...actor })

  const topic = stageTopic(name, 'predictions')
  const { type, schemaId } = await registerContract({ registry }, 'prediction', topic)
  const random = seededRandom(5)
  /** Of each partition the records [from, to). */
  const send = async (from: number, to: number): Promise<void> => {
    for (const partition of [0, 1]) {
      const records = Array.from({ length: to - from }, (_, index) => {
        const offset = from + index
        const own = {
          ...usual(random),
          event_id: `${partition}/${offset}`,
          origin_offset: offset,
          source_offset: offset,
        }
        const at = { event_time: Date.UTC(2026, 0, 5) + offset * 5_000, ingested_at: Date.UTC(2026, 0, 5, 12) }
        return { key: Buffer.from(own.event_id), value: type.encode(schemaId, predictionOf({ ...own, ...at })) }
      })
      await writer.value.write([{ topic, partition, records }])
    }
  }
  const panesHave = (predictions: number): Promise<void> =>
    eventually(async () => {
      expect(await auditPanes(run.clickhouse, name)).toMatchObject({ predictions, faults: [] })
    }, DEADLINE)

  return { name, run, send, panesHave }
}

test('predictions become panes and scores, and go on when the process that watches is stopped', {
  timeout: 900_000,
}, async () => {
  const { name, run, send, panesHave } = await watchedPipeline()
  const sinks = [run.startStage('sinks'), run.startStage('sinks')]
  await send(0, 800)
  await panesHave(1_600)
  await sinks[0]?.stop()
  await send(800, 1_600)
  await panesHave(3_200)
  sinks[0] = run.startStage('sinks')
  await sinks[1]?.stop()
  await send(1_600, 1_700)
  await panesHave(3_400)
  await eventually(async () => {
    const scores = await run.clickhouse.rows(
      `SELECT DISTINCT status, closed FROM drift_scores FINAL WHERE pipeline = {name:String} AND feature = 'amount' AND segment = '*'
       AND window_start = toDateTime('2026-01-05 00:00:00', 'UTC') AND metric = 'ks'`,
      { name },
    )
    expect(scores).toEqual([{ status: 'ok', closed: true }])
  }, DEADLINE)
})

const STEPS: readonly (readonly [statement: string, moment: Moment])[] = [
  ['INSERT INTO feature_panes', 'before'],
  ['INSERT INTO feature_panes', 'during'],
  ['INSERT INTO moment_panes', 'during'],
  ['INSERT INTO feature_panes', 'after'],
  ['INSERT INTO pane_progress', 'before'],
  ['INSERT INTO pane_progress', 'after'],
  ['INSERT INTO drift_scores', 'before'],
  ['INSERT INTO drift_scores', 'during'],
  ['INSERT INTO drift_scores', 'after'],
  ['INSERT INTO performance_panes', 'during'],
  ['INSERT INTO quality_scores', 'before'],
]

test('killed in the middle of a pane or a score, before, while and after ClickHouse does it: all panes are exact', {
  timeout: 1_800_000,
}, async () => {
  const proxy = await openStatementProxy(stack['CLICKHOUSE_URL'] ?? '')
  onTestFinished(() => proxy.close())
  const { name, run, send, panesHave } = await watchedPipeline(proxy.url)
  const sinks = run.startStage('sinks')
  await send(0, 200)
  await panesHave(400)
  for (const [index, [statement, moment]] of STEPS.entries()) {
    const killed = proxy.strike(statement, moment, () => sinks.kill('SIGKILL'))
    const before = 200 + index * 100
    await send(before, before + 100)
    await killed
    await panesHave(2 * (before + 100))
    expect(sinks.restarts, `${statement}, ${moment}`).toBe(index + 1)
  }
  const predictions = 2 * (200 + STEPS.length * 100)
  expect(await paneTotals(run.clickhouse, { pipeline: name, profile: 'spring' })).toMatchObject({
    predictions,
    counted: [predictions],
  })
  // and so are those of quality, and the scores of both
  const sumOf = async (sql: string): Promise<unknown> => {
    const [row] = await run.clickhouse.rows<{ n: number }>(sql, { name })
    return row?.n
  }
  await eventually(async () => {
    for (const sum of [
      `SELECT toFloat64(sum(n)) AS n FROM performance_panes FINAL WHERE pipeline = {name:String} AND segment = '*'`,
      `SELECT toFloat64(sum(n)) AS n FROM drift_scores FINAL
       WHERE pipeline = {name:String} AND segment = '*' AND feature = 'amount' AND metric = 'missing'`,
      `SELECT toFloat64(sum(n)) AS n FROM quality_scores FINAL
       WHERE pipeline = {name:String} AND segment = '*' AND metric = 'coverage' AND known_after_hours = 65535`,
    ]) {
      expect(await sumOf(sum), sum).toBe(predictions)
    }
  }, DEADLINE)
})
