import { type AvroReader, createAvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import { checkLanes } from '../../../infra/runtime/check-lanes.ts'
import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal } from '../../../infra/runtime/errors.ts'
import type { HopObserver } from '../../../infra/runtime/kafka/hop/hop-observer.ts'
import { once } from '../../../infra/runtime/stage-contracts.ts'
import {
  joinStageGroup,
  positionsCommand,
  type StageLanes,
  stageClaims,
  stageDeadLetters,
  startNamedReport,
} from '../../../infra/runtime/stage-lanes.ts'
import type { StageContext } from '../../../infra/runtime/stage-process.ts'
import { createLaneStanding } from '../../../infra/runtime/telemetry/lane-standing.ts'
import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { consumerGroup, STAGE_METRICS_TOPIC, stageTopic } from '../../../schemas/topics.ts'
import type { RowKind } from '../stored-row.ts'
import { checkDeduplicationWindows } from './check-windows.ts'
import type { ChunkLimits } from './chunk.ts'
import type { LetterTopics } from './lane-letters.ts'
import type { LandedChunk } from './sealed-observer.ts'
import { type SealedSink, startSealedSink } from './sealed-sink.ts'
import { createSealedStore } from './sealed-store.ts'

export interface SealedSinkStart<T> {
  /** What is stored: names the group, and `sinks-<input>` in reports. */
  readonly input: string
  /** By default the pipeline's own. One that pipelines share has no dead letters: what cannot be stored stops it. */
  readonly group?: string
  readonly topic: string
  readonly schema: AvroSchema
  readonly rows: RowKind<T>
  readonly clickhouse: ClickHouseClient
  readonly limits: ChunkLimits
  readonly observer: HopObserver & { landed(chunk: LandedChunk): void }
}

/** A chunk that has not moved or been tried again for this long means the process is stuck. */
const STUCK_MS = 120_000
/** Of each table, by all sinks of a group: ClickHouse advises to stay in this range. */
const INSERTS_PER_SECOND = 10
/** Fetches may be small, and a chunk takes many. What they hold is bounded by bytes. */
const MAX_BATCHES_OUT = 4_096

/** Stores a topic in its table exactly once, with everything around it: checks, claims, reports, health and an orderly stop. */
export async function startSealedStageSink<T>(context: StageContext, options: SealedSinkStart<T>): Promise<SealedSink> {
  const { brokers, clock, config, connections, pipeline } = context
  const { input, topic, rows, clickhouse, limits } = options
  const name = `sinks-${input}`
  const group = options.group ?? consumerGroup(pipeline.name, `sinks.${input}`)
  const logger = context.logger.child({ hop: name })
  // members of a group that pipelines share are told apart by the pipeline, too
  const member = options.group === undefined ? name : `${pipeline.name}.${name}`
  const lanes = { name: member, group, topic, logger }
  const database = connections.clickhouseDatabase

  await once(context, `deduplication of ${rows.table}`, () =>
    checkDeduplicationWindows(clickhouse, database, rows.table),
  )
  const found = await once(context, `topic ${topic}`, async () => {
    const metadata = (await brokers.topics([topic])).get(topic)
    if (metadata === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
    return metadata
  })
  const repairCommand = (partition: number, to: number): string =>
    `${positionsCommand(pipeline.folder, group, partition)} --to ${to}`
  const running: { sink?: SealedSink } = {}
  const trusted = (): boolean => running.sink?.source.trusted() ?? true
  // a position that notes one pipeline's dead letters could not be taken over by the sinks of another
  const letters = options.group === undefined ? await letterTopics(context, lanes, found.id, trusted) : null
  // the sink of the reports would report on its own reports, for ever
  const report = topic === STAGE_METRICS_TOPIC ? null : await startNamedReport(context, name)
  const standing = createLaneStanding(name)
  const reader: AvroReader<T> = createAvroReader<T>({
    schema: options.schema,
    name: input,
    registry: context.registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })

  const sink = await context.start(name, () =>
    startSealedSink({
      startSource: (hooks, onRetentionLost) => joinStageGroup(context, lanes, hooks, onRetentionLost, MAX_BATCHES_OUT),
      topic,
      partitions: found.partitions.length,
      reader,
      schema: options.schema,
      rows,
      store: createSealedStore(clickhouse, database, rows),
      letters,
      limits,
      insertsPerSecond: INSERTS_PER_SECOND,
      goOnAfterRetentionLost: config.onRetentionLost === 'continue',
      retry: context.retry,
      clock,
      repairCommand,
      observer: {
        landed: options.observer.landed,
        settled(round) {
          standing.moved(round.partition)
          context.queuedBytes.set(running.sink?.source.heldBytes() ?? 0, { hop: name })
          report?.settled(round)
          options.observer.settled(round)
        },
        retrying(round) {
          if (standing.waits(round.partition, round.code)) logger.warn(round, 'waiting for a dependency')
          report?.retried()
          options.observer.retrying(round)
        },
        deferred(lane) {
          if (standing.waits(lane.partition, lane.code)) logger.warn(lane, 'a partition waits')
          options.observer.deferred(lane)
        },
        stopped(lane) {
          standing.stopped(lane.partition, lane.code)
          logger.error(lane, 'a partition stopped')
          options.observer.stopped(lane)
        },
        passedOver(lane) {
          logger.error(lane, 'records were passed over')
          options.observer.passedOver(lane)
        },
        began(partition) {
          standing.began(partition)
          options.observer.began(partition)
        },
      },
    }),
  )
  running.sink = sink
  context.watch({
    ended: sink.ended,
    health: {
      live: () => (sink.workingForMs() > STUCK_MS ? `${name} has made no progress for ${STUCK_MS / 1_000} s` : null),
      ready: standing.problem,
    },
  })
  return sink
}

/** Null for the topic of dead letters: what cannot be stored of it must not come back as another one. */
async function letterTopics(
  context: StageContext,
  lanes: StageLanes,
  generation: string,
  trusted: () => boolean,
): Promise<LetterTopics | null> {
  const topic = stageTopic(context.pipeline.name, 'dead-letters')
  if (lanes.topic === topic) return null
  await checkLanes(context, { input: lanes.topic, outputs: [topic] })
  const deadLetters = await stageDeadLetters(context, topic)
  return { input: { topic: lanes.topic, generation }, deadLetters, claims: stageClaims(context, lanes, trusted) }
}
