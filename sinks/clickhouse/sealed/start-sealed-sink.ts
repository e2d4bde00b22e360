import { type AvroReader, createAvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import { checkLanes } from '../../../infra/runtime/check-lanes.ts'
import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal } from '../../../infra/runtime/errors.ts'
import { startLaneSource } from '../../../infra/runtime/kafka/consumer/start-lane-source.ts'
import { readCoordinates } from '../../../infra/runtime/kafka/exactly-once/coordinates.ts'
import { readDeadLetterCoordinates } from '../../../infra/runtime/kafka/exactly-once/dead-letter-coordinates.ts'
import { createLaneClaims } from '../../../infra/runtime/kafka/exactly-once/lane-claims.ts'
import type { HopObserver } from '../../../infra/runtime/kafka/hop/hop-observer.ts'
import { once, registerContract } from '../../../infra/runtime/stage-hop.ts'
import type { StageContext } from '../../../infra/runtime/stage-process.ts'
import { startStageReport } from '../../../infra/runtime/telemetry/stage-report.ts'
import { REPLAY_OF_HEADER } from '../../../schemas/headers.ts'
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
  readonly topic: string
  readonly schema: AvroSchema
  readonly rows: RowKind<T>
  readonly clickhouse: ClickHouseClient
  readonly limits: ChunkLimits
  readonly observer: HopObserver & { landed(chunk: LandedChunk): void }
}

/** A chunk that has not moved or been tried again for this long means the process is stuck. */
const STUCK_MS = 120_000
const REPORT_INTERVAL_MS = 1_000
/** Of each table, by all sinks of a group: ClickHouse advises to stay in this range. */
const INSERTS_PER_SECOND = 10
/** Fetches may be small, and a chunk takes many. What they hold is bounded by bytes. */
const MAX_BATCHES_OUT = 4_096

/** Stores a topic in its table exactly once, with everything around it: checks, claims, reports, health and an orderly stop. */
export async function startSealedStageSink<T>(context: StageContext, options: SealedSinkStart<T>): Promise<void> {
  const { brokers, clock, config, connections, pipeline } = context
  const { input, topic, rows, clickhouse, limits } = options
  const name = `sinks-${input}`
  const group = consumerGroup(pipeline.name, `sinks.${input}`)
  const logger = context.logger.child({ hop: name })
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
    `millrace positions ${pipeline.folder} --group ${group} set --partition ${partition} --to ${to}`
  const running: { sink?: SealedSink } = {}
  const letters = await letterTopics(context, {
    input: { topic, generation: found.id },
    repairCommand: (partition) => repairCommand(partition, 0).replace(/ --to 0$/, ''),
    trusted: () => running.sink?.source.trusted() ?? true,
  })
  const report = await startReport(context, name, topic)
  const standing = createStanding(name)
  const reader: AvroReader<T> = createAvroReader<T>({
    schema: options.schema,
    name: input,
    registry: context.registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })

  const sink = await context.start(name, () =>
    startSealedSink({
      startSource: (hooks, onRetentionLost) =>
        context.pausable(
          topic,
          startLaneSource({
            connections: brokers,
            clock,
            logger,
            group,
            topic,
            start: config.start,
            hooks,
            maxLaneBytes: config.maxLaneBytes,
            maxBatchesOut: MAX_BATCHES_OUT,
            commitIntervalMs: config.commitIntervalMs,
            sessionTimeoutMs: config.sessionTimeoutMs,
            ...(config.memberId === undefined ? {} : { instanceId: `${config.memberId}.${name}` }),
            onRetentionLost,
          }),
        ),
      topic,
      partitions: found.partitions.length,
      reader,
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
}

/** Null for the topic of dead letters: what cannot be stored of it must not come back as another one. */
async function letterTopics(
  context: StageContext,
  lane: {
    readonly input: LetterTopics['input']
    readonly repairCommand: (partition: number) => string
    readonly trusted: () => boolean
  },
): Promise<LetterTopics | null> {
  const { brokers, clock, log, logger, pipeline, stage } = context
  const { input, repairCommand, trusted } = lane
  const topic = stageTopic(pipeline.name, 'dead-letters')
  if (input.topic === topic) return null
  await checkLanes(context, { input: input.topic, outputs: [topic] })
  const type = await once(context, 'dead letter schema', () => registerContract(context, 'dead-letter', topic))
  const readTail = { outputCoordinates: readCoordinates, deadLetterCoordinates: readDeadLetterCoordinates }
  return {
    input,
    deadLetters: { stage, pipeline: pipeline.name, ...type, replayOfHeader: REPLAY_OF_HEADER, clock, topic },
    claims: createLaneClaims({
      connections: brokers,
      logReader: log,
      clock,
      logger,
      stage,
      readTail,
      repairCommand: ({ partition }) => repairCommand(partition),
      trusted,
    }),
  }
}

/** Null for the topic of the reports: its sink would report on its own reports, for ever. */
async function startReport(context: StageContext, name: string, topic: string) {
  if (topic === STAGE_METRICS_TOPIC) return null
  const { clock, instance, logger, pipeline, writer } = context
  const type = await once(context, 'stage metrics schema', () =>
    registerContract(context, 'stage-metrics', STAGE_METRICS_TOPIC),
  )
  return await context.start(`${name} report`, async () =>
    startStageReport({
      pipeline: pipeline.name,
      stage: name,
      instance,
      intervalMs: REPORT_INTERVAL_MS,
      topic: STAGE_METRICS_TOPIC,
      ...type,
      writer,
      clock,
      logger,
    }),
  )
}

/** What the partitions of a sink wait for, and which of them stopped. */
function createStanding(name: string) {
  const stopped = new Map<number, string>()
  const waiting = new Map<number | null, string>()
  return {
    moved: (partition: number) => void waiting.delete(partition),
    began(partition: number) {
      waiting.delete(partition)
      stopped.delete(partition)
    },
    /** Whether this is news. */
    waits(partition: number | null, code: string): boolean {
      const isNew = waiting.get(partition) !== code
      waiting.set(partition, code)
      return isNew
    },
    stopped: (partition: number, code: string) => void stopped.set(partition, code),
    problem(): string | null {
      const [waits] = waiting.values()
      if (waits !== undefined) return `${name} waits: ${waits}`
      const [first] = stopped
      return first === undefined ? null : `${name} stopped at partition ${first[0]}: ${first[1]}`
    },
  }
}
