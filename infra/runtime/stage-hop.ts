import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { REPLAY_OF_HEADER } from '../../schemas/headers.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { STAGE_METRICS_TOPIC, stageTopic, valueSubject } from '../../schemas/topics.ts'
import { type AvroType, parseAvroSchema } from './avro/avro-type.ts'
import type { TakeLimits } from './kafka/batch-source.ts'
import { type HopObserver, startHop } from './kafka/hop.ts'
import { type RewindableSource, startKafkaSource } from './kafka/kafka-source.ts'
import type { BatchHandler } from './kafka/outcome.ts'
import { fetchTopicIds } from './kafka/topic-ids.ts'
import type { StageContext } from './stage-process.ts'
import { startStageReport } from './telemetry/stage-report.ts'

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
  readonly outputs: Readonly<Record<string, string>>
  readonly limits: TakeLimits
  /** Where partitions begin when they are assigned; by default at the committed offset. */
  readonly startAt?: (partition: number) => Promise<number>
  /** Given the source so that it can rewind it, and the topic's id. */
  readonly handler: (source: RewindableSource, generation: string) => BatchHandler
  /** False for the hop that stores the reports: it would report on its own reports, for ever. */
  readonly reported?: boolean
  /** What the stage itself counts and logs. */
  readonly observer?: Partial<HopObserver>
}

/** A round that has not ended or been tried again for this long means the process is stuck. */
const STUCK_MS = 120_000
const REPORT_INTERVAL_MS = 1_000

/** A hop of a stage with everything around it: source, dead letters, reports, health and an orderly stop. */
export async function startStageHop(context: StageContext, options: StageHopOptions): Promise<void> {
  const { clock, config, kafka, admin, writer, logger, pipeline, stage } = context
  const { name, group, topic, outputs, limits } = options
  const deadLetterTopic = stageTopic(pipeline.name, 'dead-letters')

  const reportType = await once(context, 'stage metrics schema', () =>
    registerContract(context, 'stage-metrics', STAGE_METRICS_TOPIC),
  )
  const deadLetterType = await once(context, 'dead letter schema', () =>
    registerContract(context, 'dead-letter', deadLetterTopic),
  )
  const generation = await once(context, `topic id of ${topic}`, async () => {
    const id = (await fetchTopicIds(kafka, [topic])).get(topic)
    return id ?? ''
  })
  const report = await context.start(`${name} report`, async () =>
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
  const source = await context.start(`${name} source`, () =>
    startKafkaSource({
      client: kafka,
      admin,
      clock,
      group,
      topic,
      generation,
      maxLaneBytes: config.maxLaneBytes,
      commitIntervalMs: config.commitIntervalMs,
      sessionTimeoutMs: config.sessionTimeoutMs,
      ...(options.startAt === undefined ? {} : { startAt: options.startAt }),
    }),
  )

  const queuedBytes = context.queuedBytes
  let waitingFor: string | null = null
  const hopLogger = logger.child({ hop: name })
  const hop = startHop({
    source,
    writer,
    handler: options.handler(source, generation),
    outputs,
    deadLetters: {
      stage,
      pipeline: pipeline.name,
      ...deadLetterType,
      replayOfHeader: REPLAY_OF_HEADER,
      clock,
      topic: deadLetterTopic,
    },
    limits,
    retry: context.retry,
    clock,
    observer: {
      settled(round) {
        if (round.deferredLanes === 0) waitingFor = null
        queuedBytes.set(source.queuedBytes(), { hop: name })
        if (options.reported !== false) report.settled(round)
        options.observer?.settled?.(round)
      },
      retrying(round) {
        if (waitingFor !== round.code) hopLogger.warn(round, 'waiting for a dependency')
        waitingFor = round.code
        queuedBytes.set(source.queuedBytes(), { hop: name })
        if (options.reported !== false) report.retried()
        options.observer?.retrying?.(round)
      },
      deferred(lane) {
        if (waitingFor !== lane.code) hopLogger.warn(lane, 'a lane waits')
        waitingFor = lane.code
        options.observer?.deferred?.(lane)
      },
    },
  })
  context.watch({
    ended: hop.ended,
    health: {
      live: () => (hop.workingForMs() > STUCK_MS ? `${name} has made no progress for ${STUCK_MS / 1_000} s` : null),
      ready: () => (waitingFor === null ? null : `${name} waits: ${waitingFor}`),
    },
  })
  await context.start(`${name} hop`, async () => ({ value: null, stop: () => hop.stop() }))
}

/** A value that may need several tries to get, and nothing to stop. */
async function once<T>(context: StageContext, name: string, get: () => Promise<T>): Promise<T> {
  return await context.start(name, async () => ({ value: await get(), stop: async () => {} }))
}
