import path from 'node:path'
import { commandConnections } from '../../../infra/cli/connections.ts'
import { patiently } from '../../../infra/cli/patiently.ts'
import { account } from '../../../infra/cli/up/accounting.ts'
import { createProcesses, deployPipeline } from '../../../infra/cli/up/start-pipeline.ts'
import type { Stack } from '../../../infra/local/stack.ts'
import { type ClickHouseClient, createClickHouse } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { systemClock as clock } from '../../../infra/runtime/clock.ts'
import { clickHouseConfig, kafkaConfig } from '../../../infra/runtime/config.ts'
import { fateOf } from '../../../infra/runtime/errors.ts'
import { createKafkaConnections } from '../../../infra/runtime/kafka/connections/kafka-connections.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../../infra/runtime/kafka/kafka-admin.ts'
import { createLogReader } from '../../../infra/runtime/kafka/log-reader.ts'
import type { Scope } from '../../../infra/runtime/lifecycle/scope.ts'
import { silentLogger as logger } from '../../../infra/runtime/telemetry/logger.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { consumerGroup, stageTopic } from '../../../schemas/topics.ts'
import { keepLedger, type LedgerVerdict, ledgerTopics } from '../ledger/ledger.ts'
import type { SeededRandom } from '../seeded-random.ts'
import { createStageDriver, type StageDriver } from '../stage-driver.ts'
import { type EventFeed, startEventFeed } from './event-feed.ts'

const FLIGHTS = path.resolve(import.meta.dirname, '../../../infra/sample/flights')
const QUERY_TIMEOUT_MS = 120_000
const DEPLOY_WITHIN_MS = 180_000
const POLL_MS = 1_000
const MARKERS_ALONE_MS = 10_000
/** Enough to have the weather loaded for the events that are fed afterwards. */
const REPLAYED_EVENTS = 200

/** The flights pipeline on a stack of its own, with its lookups loaded and no stage running. */
export interface Deployment {
  readonly pipeline: CompiledPipeline
  readonly admin: KafkaAdmin
  readonly driver: StageDriver
  readonly feed: EventFeed
  /**
   * Waits until every event has ended and no hop has anything in front of it. False when for `quietMs`
   * nothing has come any nearer.
   */
  settled(quietMs: number): Promise<boolean>
  ledger(): Promise<LedgerVerdict>
}

export async function deploy(
  scope: Scope,
  stack: Pick<Stack, 'env' | 'supervisor'>,
  options: {
    /** A copy of the flights pipeline; the sample itself by default. */
    readonly folder?: string
    readonly partitions: number
    readonly random: SeededRandom
    readonly logDir: string
    /** For the stages. */
    readonly env: Readonly<Record<string, string>>
    readonly say: (line: string) => void
  },
): Promise<Deployment> {
  const { partitions, random, logDir, say } = options
  const pipeline = await loadPipeline(options.folder ?? FLIGHTS)
  const connections = commandConnections({ ...process.env, ...stack.env })
  const admin = await scope.start('admin', () => startKafkaAdmin(connections.kafka))
  const patience = { say: () => {}, signal: AbortSignal.timeout(DEPLOY_WITHIN_MS) }
  const settings = { partitions, allowSingleReplica: true, onProgress: () => {} }
  await patiently('deploying', () => deployPipeline(pipeline, connections, admin, settings), patience)
  const clickhouse = await scope.start('ClickHouse', async () => {
    const client = createClickHouse(clickHouseConfig(connections.settings, QUERY_TIMEOUT_MS))
    return { value: client, stop: () => client.close() }
  })
  const kafka = await scope.start('connections', async () => {
    const config = kafkaConfig(connections.settings)
    const value = createKafkaConnections({ config, clientId: 'ledger', logger, clock })
    return { value, stop: () => value.close() }
  })
  const env = { ...stack.env, ...options.env }
  const driver = createStageDriver({ supervisor: stack.supervisor, env, pipelineFolder: pipeline.folder, logDir })

  say('loading the weather')
  const sinks = driver.start('sinks')
  const replay = createProcesses(pipeline, stack, { logDir }).startReplay({
    limit: REPLAYED_EVENTS,
    rate: 'max',
    onLine: () => {},
  })
  const code = await replay.exited
  await sinks.stop()
  if (code !== 0) throw new Error(`the replay failed: ${replay.lastError} (${replay.logFile})`)
  const feed = await scope.start('feed', async () => {
    const { kafka, registry } = connections
    const value = await startEventFeed({ pipeline, partitions, registry, kafka, random })
    return { value, stop: () => value.stop() }
  })
  const topics = [...ledgerTopics(pipeline).keys()]
  return {
    pipeline,
    admin,
    driver,
    feed,
    settled: (quietMs) => settle({ pipeline, admin, clickhouse, topics: () => kafka.topics(topics), say }, quietMs),
    ledger: async () => {
      const found = await kafka.topics(topics)
      const topicIds = new Map([...found].map(([name, { id }]) => [name, id]))
      const reader = createLogReader({ connections: kafka, clock })
      return await keepLedger({ pipeline, partitions, reader, clickhouse, topicIds })
    },
  }
}

async function settle(
  deps: {
    readonly pipeline: CompiledPipeline
    readonly admin: KafkaAdmin
    readonly clickhouse: ClickHouseClient
    readonly topics: () => Promise<ReadonlyMap<string, { readonly id: string }>>
    readonly say: (line: string) => void
  },
  quietMs: number,
): Promise<boolean> {
  const { pipeline, admin, clickhouse, topics, say } = deps
  const ids = await topics()
  const none = new Map<number, number>()
  const marks = {
    events: none,
    predictions: none,
    labels: none,
    eventsGeneration: ids.get(pipeline.event.topic)?.id ?? '',
    labelsGeneration: ids.get(pipeline.label?.topic ?? '')?.id ?? '',
  }
  let last = ''
  let least = Number.POSITIVE_INFINITY
  let nearerAt = performance.now()
  while (performance.now() - nearerAt < quietMs) {
    try {
      const { missing } = await account(pipeline, admin, clickhouse, marks)
      const lanes = await lag(pipeline, admin)
      const waiting = lanes.reduce((sum, lane) => sum + lane.offsets, 0)
      last = `${missing} events are missing; ${lanes.map(({ name, offsets }) => `${name} ${offsets}`).join(', ')}`
      const left = missing + waiting
      if (left === 0) return true
      // control records behind the last record
      if (left === waiting && performance.now() - nearerAt > MARKERS_ALONE_MS) return true
      if (left < least) nearerAt = performance.now()
      least = Math.min(least, left)
    } catch (error) {
      // a component may still be starting again
      if (fateOf(error) !== 'retry') throw error
    }
    await clock.sleep(POLL_MS)
  }
  say(`nothing has come nearer for ${quietMs} ms: ${last}`)
  return false
}

/** Offsets that have not been committed, by lane, where there are any. */
async function lag(
  pipeline: CompiledPipeline,
  admin: KafkaAdmin,
): Promise<readonly { readonly name: string; readonly offsets: number }[]> {
  const hops = [
    ['processors', pipeline.event.topic],
    ['inference', stageTopic(pipeline.name, 'features')],
    ['sinks.predictions', stageTopic(pipeline.name, 'predictions')],
    ['sinks.dead-letters', stageTopic(pipeline.name, 'dead-letters')],
    ...(pipeline.label === null ? [] : ([['sinks.labels', pipeline.label.topic]] as const)),
  ] as const
  const lanes: { name: string; offsets: number }[] = []
  for (const [reader, topic] of hops) {
    const committed = await admin.committed(consumerGroup(pipeline.name, reader), topic)
    for (const { partition, low, high } of await admin.ranges(topic)) {
      lanes.push({ name: `${reader}/${partition}`, offsets: high - (committed.get(partition) ?? low) })
    }
  }
  return lanes.filter(({ offsets }) => offsets > 0)
}
