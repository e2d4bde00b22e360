import { REPLAY_OF_HEADER } from '../../schemas/headers.ts'
import { STAGE_METRICS_TOPIC } from '../../schemas/topics.ts'
import type { LaneHooks, LaneSource, PartitionPauses } from './kafka/consumer/lane-source.ts'
import { startLaneSource } from './kafka/consumer/start-lane-source.ts'
import type { LostRange } from './kafka/consumer/start-position.ts'
import type { DeadLetterEncoding } from './kafka/dead-letters.ts'
import { readCoordinates } from './kafka/exactly-once/coordinates.ts'
import { readDeadLetterCoordinates } from './kafka/exactly-once/dead-letter-coordinates.ts'
import { createLaneClaims } from './kafka/exactly-once/lane-claims.ts'
import type { LaneClaims } from './kafka/exactly-once/lane-writer.ts'
import type { Started } from './lifecycle/scope.ts'
import { once, registerContract } from './stage-contracts.ts'
import type { StageContext } from './stage-process.ts'
import type { Logger } from './telemetry/logger.ts'
import { type ModelFacts, type StageReport, startStageReport } from './telemetry/stage-report.ts'

/** What reads a topic by lanes in a stage, whatever it does with the records. */
export interface StageLanes {
  /** Names it in reports and to the group. */
  readonly name: string
  readonly group: string
  readonly topic: string
  readonly logger: Logger
}

/** A member of the group with the stage's settings; an operator may pause its partitions. */
export function joinStageGroup(
  { brokers, clock, config, laneMemory, pausable }: StageContext,
  { name, group, topic, logger }: StageLanes,
  hooks: LaneHooks,
  onRetentionLost: (range: LostRange) => Promise<number>,
  maxBatchesOut?: number,
): Promise<Started<LaneSource & PartitionPauses>> {
  const { start, commitIntervalMs, sessionTimeoutMs, memberId } = config
  return pausable(
    topic,
    startLaneSource({
      connections: brokers,
      clock,
      logger,
      group,
      topic,
      start,
      hooks,
      maxLaneBytes: laneMemory.share,
      commitIntervalMs,
      sessionTimeoutMs,
      ...(maxBatchesOut === undefined ? {} : { maxBatchesOut }),
      ...(memberId === undefined ? {} : { instanceId: `${memberId}.${name}` }),
      onRetentionLost,
    }),
  )
}

/** The claims of its lanes. `trusted`: false while nothing may be sent. */
export function stageClaims(
  { brokers, clock, log, pipeline, stage }: StageContext,
  { group, logger }: StageLanes,
  trusted: () => boolean,
): LaneClaims {
  return createLaneClaims({
    connections: brokers,
    logReader: log,
    clock,
    logger,
    stage,
    readTail: { outputCoordinates: readCoordinates, deadLetterCoordinates: readDeadLetterCoordinates },
    repairCommand: ({ partition }) => positionsCommand(pipeline.folder, group, partition),
    trusted,
  })
}

/** How an operator lets a partition go on; he adds `--to`. */
export function positionsCommand(folder: string, group: string, partition: number): string {
  return `millrace positions ${folder} --group ${group} set --partition ${partition}`
}

/** How the stage's dead letters are encoded; registers their schema. */
export async function stageDeadLetters(
  context: StageContext,
  topic: string,
): Promise<DeadLetterEncoding & { readonly topic: string }> {
  const { clock, pipeline, stage } = context
  const type = await once(context, 'dead letter schema', () => registerContract(context, 'dead-letter', topic))
  return { stage, pipeline: pipeline.name, ...type, replayOfHeader: REPLAY_OF_HEADER, clock, topic }
}

const REPORT_INTERVAL_MS = 1_000

/** Counts, written to the stage metrics topic under the name. */
export async function startNamedReport(
  context: StageContext,
  name: string,
  modelFacts?: () => ModelFacts,
): Promise<StageReport> {
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
      ...(modelFacts === undefined ? {} : { modelFacts }),
    }),
  )
}
