import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { REPLAY_OF_HEADER } from '../../schemas/headers.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { STAGE_METRICS_TOPIC, stageTopic, valueSubject } from '../../schemas/topics.ts'
import { type AvroType, parseAvroSchema } from './avro/avro-type.ts'
import { checkLanes } from './check-lanes.ts'
import { fatal } from './errors.ts'
import { startLaneSource } from './kafka/consumer/start-lane-source.ts'
import type { TakeLimits } from './kafka/consumer/take-limits.ts'
import { readCoordinates } from './kafka/exactly-once/coordinates.ts'
import { readDeadLetterCoordinates } from './kafka/exactly-once/dead-letter-coordinates.ts'
import { createLaneClaims } from './kafka/exactly-once/lane-claims.ts'
import type { HopObserver } from './kafka/hop/hop-observer.ts'
import { type LaneHop, startLaneHop } from './kafka/hop/lane-hop.ts'
import type { OriginOf } from './kafka/hop/unended.ts'
import type { BatchHandler } from './kafka/outcome.ts'
import { startWatchdog } from './lifecycle/watchdog.ts'
import type { StageContext } from './stage-process.ts'
import { type StageReport, startStageReport } from './telemetry/stage-report.ts'

/** One of our own contracts, by the name of its file in schemas/avro. */
export async function readContract(name: string): Promise<AvroSchema> {
  const file = join(import.meta.dirname, '../../schemas/avro', `${name}.avsc`)
  return JSON.parse(await readFile(file, 'utf8')) as AvroSchema
}

export interface RegisteredType {
  readonly type: AvroType
  readonly schemaId: number
}

/** The contract, ready to encode values of the topic; registered under the topic's subject if it was not. */
export async function registerContract(
  context: StageContext,
  contract: string,
  topic: string,
): Promise<RegisteredType> {
  const schema = await readContract(contract)
  return {
    type: parseAvroSchema(schema, contract),
    schemaId: await context.registry.register(valueSubject(topic), schema),
  }
}

export interface StageHopOptions {
  /** Names the hop in reports, e.g. `sinks-labels`. */
  readonly name: string
  readonly group: string
  readonly topic: string
  /** The handler's name for its output, and the topic; null = it stores elsewhere. */
  readonly output: { readonly name: string; readonly topic: string } | null
  /** Other inputs whose dead letters may end records of this one. */
  readonly alsoFence?: readonly string[]
  readonly limits: TakeLimits
  /** Where partitions begin when they are assigned, for a reader that keeps its own positions; by default at the committed offset. */
  readonly startAt?: (partition: number) => Promise<number>
  /** Coordinates in the events topic of an input record; by default its own. */
  readonly originOf?: OriginOf
  readonly handler: BatchHandler
  /** False for the hop that stores the reports: it would report on its own reports, for ever. */
  readonly reported?: boolean
  /** What the stage itself counts and logs. */
  readonly observer?: Partial<HopObserver>
}

const REPORT_INTERVAL_MS = 1_000

/** A hop of a stage with everything around it: claims, source, dead letters, reports, health and an orderly stop. */
export async function startStageHop(context: StageContext, options: StageHopOptions): Promise<LaneHop> {
  const { clock, config, brokers, logger, pipeline, stage } = context
  const { name, group, topic, output, limits } = options
  const deadLetterTopic = stageTopic(pipeline.name, 'dead-letters')
  const hopLogger = logger.child({ hop: name })

  await checkLanes(context, { input: topic, outputs: [deadLetterTopic, ...(output === null ? [] : [output.topic])] })
  const deadLetterType = await once(context, 'dead letter schema', () =>
    registerContract(context, 'dead-letter', deadLetterTopic),
  )
  const generation = await once(context, `topic id of ${topic}`, async () => {
    const found = (await brokers.topics([topic])).get(topic)
    if (found === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
    return found.id
  })
  const report = await startHopReport(context, name)

  /** Code of what is waited for, by whom. */
  const waiting = new Map<string, string>()
  const stopped = new Map<number, string>()
  const wait = (who: string, facts: { readonly code: string }, message: string): void => {
    if (waiting.get(who) !== facts.code) hopLogger.warn(facts, message)
    waiting.set(who, facts.code)
  }
  const started: { hop?: LaneHop } = {}
  const claims = createLaneClaims({
    connections: brokers,
    logReader: context.log,
    clock,
    logger: hopLogger,
    stage,
    readTail: { outputCoordinates: readCoordinates, deadLetterCoordinates: readDeadLetterCoordinates },
    repairCommand: (lane) => `millrace positions ${pipeline.folder} --group ${group} set --partition ${lane.partition}`,
    trusted: () => started.hop?.source.trusted() ?? true,
  })
  const hop = await context.start(`${name} hop`, () =>
    startLaneHop({
      startSource: (hooks, onRetentionLost) =>
        context.pausable(
          topic,
          startLaneSource({
            connections: brokers,
            clock,
            logger: hopLogger,
            group,
            topic,
            start: config.start,
            hooks,
            maxLaneBytes: config.maxLaneBytes,
            commitIntervalMs: config.commitIntervalMs,
            sessionTimeoutMs: config.sessionTimeoutMs,
            ...(config.memberId === undefined ? {} : { instanceId: `${config.memberId}.${name}` }),
            onRetentionLost,
          }),
        ),
      claims,
      handler: options.handler,
      input: { topic, generation },
      output,
      ...(options.alsoFence === undefined ? {} : { alsoFence: options.alsoFence }),
      deadLetters: {
        stage,
        pipeline: pipeline.name,
        ...deadLetterType,
        replayOfHeader: REPLAY_OF_HEADER,
        clock,
        topic: deadLetterTopic,
      },
      originOf: options.originOf ?? ((batch, index) => ({ generation, offset: batch.offset(index) })),
      startAt: options.startAt,
      goOnAfterRetentionLost: config.onRetentionLost === 'continue',
      limits,
      retry: context.retry,
      clock,
      observer: {
        settled(round) {
          waiting.delete('hop')
          if (round.deferredLanes === 0) waiting.delete(`partition ${round.partition}`)
          context.queuedBytes.set(started.hop?.source.heldBytes() ?? 0, { hop: name })
          if (options.reported !== false) report.settled(round)
          options.observer?.settled?.(round)
        },
        retrying(round) {
          wait(round.partition === null ? 'hop' : `partition ${round.partition}`, round, 'waiting for a dependency')
          if (options.reported !== false) report.retried()
          options.observer?.retrying?.(round)
        },
        deferred(lane) {
          wait(`partition ${lane.partition}`, lane, 'a lane waits')
          options.observer?.deferred?.(lane)
        },
        stopped(lane) {
          stopped.set(lane.partition, lane.code)
          hopLogger.error(lane, 'a partition stopped')
          options.observer?.stopped?.(lane)
        },
        passedOver(lane) {
          hopLogger.error(lane, 'records were passed over')
          options.observer?.passedOver?.(lane)
        },
        began(partition) {
          stopped.delete(partition)
          options.observer?.began?.(partition)
        },
      },
    }),
  )
  started.hop = hop
  const isWaiting = (): boolean => waiting.size > 0 || stopped.size > 0
  const watchdog = await context.start(`${name} watchdog`, async () =>
    startWatchdog({ name, hop, isWaiting, limitMs: config.progressTimeoutMs }),
  )
  context.watch({
    ended: Promise.race([hop.ended, watchdog.ended]),
    health: {
      live: watchdog.problem,
      ready: () => firstOf(name, waiting) ?? firstOf(`partition of ${name}`, stopped),
    },
  })
  return hop
}

function firstOf(name: string, reasons: ReadonlyMap<unknown, string>): string | null {
  const [first] = reasons
  return first === undefined ? null : `${name} ${first[0]}: ${first[1]}`
}

/** Counts of the hop, written to the stage metrics topic. */
async function startHopReport(context: StageContext, name: string): Promise<StageReport> {
  const { clock, logger, pipeline, writer } = context
  const reportType = await once(context, 'stage metrics schema', () =>
    registerContract(context, 'stage-metrics', STAGE_METRICS_TOPIC),
  )
  return await context.start(`${name} report`, async () =>
    startStageReport({
      pipeline: pipeline.name,
      stage: name,
      instance: context.instance,
      intervalMs: REPORT_INTERVAL_MS,
      topic: STAGE_METRICS_TOPIC,
      ...reportType,
      writer,
      clock,
      logger,
    }),
  )
}

/** A value that may need several tries to get, and nothing to stop. */
export async function once<T>(context: StageContext, name: string, get: () => Promise<T>): Promise<T> {
  return await context.start(name, async () => ({ value: await get(), stop: async () => {} }))
}
