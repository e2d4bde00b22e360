import { stageTopic } from '../../schemas/topics.ts'
import { checkLanes } from './check-lanes.ts'
import { fatal } from './errors.ts'
import type { TakeLimits } from './kafka/consumer/take-limits.ts'
import type { HopObserver } from './kafka/hop/hop-observer.ts'
import { type LaneHop, startLaneHop } from './kafka/hop/lane-hop.ts'
import type { OriginOf } from './kafka/hop/unended.ts'
import type { BatchHandler } from './kafka/outcome.ts'
import { startWatchdog } from './lifecycle/watchdog.ts'
import { once } from './stage-contracts.ts'
import { joinStageGroup, stageClaims, stageDeadLetters, startNamedReport } from './stage-lanes.ts'
import type { StageContext } from './stage-process.ts'
import { createLaneStanding } from './telemetry/lane-standing.ts'
import type { ModelFacts } from './telemetry/stage-report.ts'

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
  /** What its models did, for the reports. */
  readonly modelFacts?: () => ModelFacts
  /** What the stage itself counts and logs. */
  readonly observer?: Partial<HopObserver>
}

/** A hop of a stage with everything around it: claims, source, dead letters, reports, health and an orderly stop. */
export async function startStageHop(context: StageContext, options: StageHopOptions): Promise<LaneHop> {
  const { clock, config, brokers, pipeline } = context
  const { name, group, topic, output, limits } = options
  const logger = context.logger.child({ hop: name })
  const lanes = { name, group, topic, logger }
  const deadLetterTopic = stageTopic(pipeline.name, 'dead-letters')

  await checkLanes(context, { input: topic, outputs: [deadLetterTopic, ...(output === null ? [] : [output.topic])] })
  const deadLetters = await stageDeadLetters(context, deadLetterTopic)
  const generation = await once(context, `topic id of ${topic}`, async () => {
    const found = (await brokers.topics([topic])).get(topic)
    if (found === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
    return found.id
  })
  const report = await startNamedReport(context, name, options.modelFacts)
  const standing = createLaneStanding(name)
  const started: { hop?: LaneHop } = {}
  const hop = await context.start(`${name} hop`, () =>
    startLaneHop({
      startSource: (hooks, onRetentionLost) => joinStageGroup(context, lanes, hooks, onRetentionLost),
      claims: stageClaims(context, lanes, () => started.hop?.source.trusted() ?? true),
      handler: options.handler,
      input: { topic, generation },
      output,
      ...(options.alsoFence === undefined ? {} : { alsoFence: options.alsoFence }),
      deadLetters,
      originOf: options.originOf ?? ((batch, index) => ({ generation, offset: batch.offset(index) })),
      startAt: options.startAt,
      goOnAfterRetentionLost: config.onRetentionLost === 'continue',
      limits,
      retry: context.retry,
      clock,
      observer: {
        settled(round) {
          standing.moved(null)
          if (round.deferredLanes === 0) standing.moved(round.partition)
          context.queuedBytes.set(started.hop?.source.heldBytes() ?? 0, { hop: name })
          report.settled(round)
          options.observer?.settled?.(round)
        },
        retrying(round) {
          if (standing.waits(round.partition, round.code)) logger.warn(round, 'waiting for a dependency')
          report.retried()
          options.observer?.retrying?.(round)
        },
        deferred(lane) {
          if (standing.waits(lane.partition, lane.code)) logger.warn(lane, 'a lane waits')
          options.observer?.deferred?.(lane)
        },
        stopped(lane) {
          standing.stopped(lane.partition, lane.code)
          logger.error(lane, 'a partition stopped')
          options.observer?.stopped?.(lane)
        },
        passedOver(lane) {
          logger.error(lane, 'records were passed over')
          options.observer?.passedOver?.(lane)
        },
        began(partition) {
          standing.began(partition)
          options.observer?.began?.(partition)
        },
      },
    }),
  )
  started.hop = hop
  const watchdog = await context.start(`${name} watchdog`, async () =>
    startWatchdog({ name, hop, isWaiting: standing.isWaiting, limitMs: config.progressTimeoutMs }),
  )
  context.watch({
    ended: Promise.race([hop.ended, watchdog.ended]),
    health: { live: watchdog.problem, ready: standing.problem },
  })
  return hop
}
