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
import { eventually } from '../support/eventually.ts'
import { lanesOn } from '../support/lanes-on-kafka.ts'
import { copyPipeline, ORDERS } from '../support/pipeline-copy.ts'
import { predictionOf } from '../support/predictions.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { seededRandom } from '../support/seeded-random.ts'

// The stage itself: predictions in Kafka become panes and scores, whichever of two processes watches.

const env = { ...inject('stack').env, MILLRACE_DRIFT_INTERVAL_MS: '200' }
const settings = readConfig(CONNECTIONS, env)
const DEADLINE = { deadlineMs: 90_000 }

test('predictions become panes and scores, and go on when the process that watches is killed', {
  timeout: 300_000,
}, async () => {
  const { name, folder } = copyPipeline(ORDERS)
  const run = await runPipeline(folder, env, { partitions: 2, start: false })
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
