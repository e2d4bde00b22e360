import { join } from 'node:path'
import type { AvroSchema, CompiledPipeline, CompiledTable, Scalar } from '../../../schemas/pipeline/compiled.ts'
import { tableKeyText } from '../../../schemas/redis-keys.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import type { Clock } from '../../runtime/clock.ts'
import { describeError, fatal } from '../../runtime/errors.ts'
import { startAvroProducer } from '../../runtime/kafka/avro-producer.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { KafkaClient } from '../../runtime/kafka/kafka-client.ts'
import type { RecordWriter } from '../../runtime/kafka/record-writer.ts'
import { fetchTopicIds } from '../../runtime/kafka/topic-ids.ts'
import type { Started } from '../../runtime/lifecycle/scope.ts'
import type { RedisClient } from '../../runtime/redis/redis-client.ts'
import type { Logger } from '../../runtime/telemetry/logger.ts'
import { type CountedProducer, createCountedProducer } from './counted-producer.ts'
import { createLabelFeed } from './label-feed.ts'
import type { ReplayOptions } from './options.ts'
import { createPace } from './pace.ts'
import type { ReplayDone, ReplayProgress } from './progress.ts'
import { replayEvents } from './replay-events.ts'
import { createTableFeed } from './table-feed.ts'
import { untilTablesLoaded } from './tables-loaded.ts'
import { type DataRecord, openTimedFile, type TimedRecords } from './timed-records.ts'

export interface ReplayDeps {
  readonly pipeline: CompiledPipeline
  readonly options: Omit<ReplayOptions, 'folder'>
  readonly tableWaitMs: number
  readonly kafka: KafkaClient
  readonly admin: KafkaAdmin
  readonly writer: RecordWriter
  readonly registry: SchemaRegistry
  /** Called when the pipeline has tables. */
  readonly connectRedis: () => RedisClient
  /** Starts a part, again and again while it fails with `retry`; who called the replay stops it. */
  readonly start: <T>(name: string, start: () => Promise<Started<T>>) => Promise<T>
  readonly clock: Clock
  readonly logger: Logger
  /** Ends the replay early: it then rejects with the signal's reason. */
  readonly signal: AbortSignal
  /** Called once, when there is something to report. */
  readonly onStart: (progress: () => ReplayProgress) => void
}

const DAY_MS = 86_400_000
/** How far table rows are sent ahead of the events, in data time. */
const TABLE_LEAD_MS = 60 * DAY_MS
const LIMITS = { maxRecords: 1000, maxBytes: 524_288, lingerMs: 10 }
const MAX_BYTES_IN_FLIGHT = 8_388_608
const STOP_WITHIN_MS = 10_000
const RETRY = { baseMs: 100, maxMs: 2_000 }

/** Resolves once Kafka has acknowledged everything. */
export async function replay(deps: ReplayDeps): Promise<ReplayDone> {
  const { pipeline, options, clock, kafka, onStart } = deps
  const { event, label } = pipeline
  const failing = new AbortController()
  const signal = AbortSignal.any([deps.signal, failing.signal])
  const produce = (target: Target): Promise<CountedProducer> =>
    startProducer(deps, target, (error) => failing.abort(error))

  const events = await openFile(deps, 'events', event.timeField)
  if (options.from !== null) await events.skipTo(options.from)
  if (events.head === null) throw fatal('no_data', `${pipeline.folder} has no event from ${fromText(options)} on`)
  const firstEventTime = events.head.time

  const toEvents = await produce({ ...event, keyOf: (record) => keyText(event.keyField, record) })
  const labels =
    label === null
      ? null
      : {
          feed: createLabelFeed(await openFile(deps, 'labels', label.timeField), label.idField),
          toLabels: await produce({ ...label, keyOf: (record) => keyText(label.idField, record) }),
        }
  const generations = await fetchTopicIds(kafka, [event.topic, ...pipeline.tables.map(({ topic }) => topic)])
  const tables = await Promise.all(
    pipeline.tables.map(async (table) => {
      const rows = await openFile(deps, join('tables', table.name), table.timeField)
      await rows.skipTo(firstEventTime - table.maxAgeMs - DAY_MS)
      const producer = await produce({ ...table, keyOf: (row) => rowKeyText(table, row) })
      return { name: table.name, generation: generations.get(table.topic) ?? '', rows, producer }
    }),
  )

  let lastEventTime: number | null = null
  const rowsSent = (): number => tables.reduce((sum, { producer }) => sum + producer.acknowledged(), 0)
  onStart(() => ({
    sent: toEvents.acknowledged(),
    labels: labels?.toLabels.acknowledged() ?? 0,
    rows: rowsSent(),
    eventTime: lastEventTime,
  }))

  const redis = tables.length === 0 ? null : await connectedRedis(deps)
  const feed = createTableFeed({
    tables: tables.map(({ rows, producer }) => ({ rows, send: (row) => producer.send(row) })),
    leadMs: TABLE_LEAD_MS,
    startTime: firstEventTime,
    loaded: async () => {
      const { tableWaitMs: withinMs } = deps
      if (redis !== null) await untilTablesLoaded({ pipeline: pipeline.name, tables, redis, clock, withinMs, signal })
    },
  })
  await feed.prepare(firstEventTime)
  const startedAt = clock.monotonic()
  await replayEvents({
    events,
    idField: event.idField,
    limit: options.limit,
    pace: createPace(options.perSecond, startedAt),
    clock,
    toEvents,
    tables: feed,
    labels,
    onEvent: (time) => {
      lastEventTime = time
    },
    signal,
  })
  return {
    done: true,
    events: toEvents.acknowledged(),
    perPartitionEvents: perPartition(toEvents),
    labels: labels?.toLabels.acknowledged() ?? 0,
    labelsExpected: labels?.feed.labelled() ?? 0,
    tableRows: rowsSent(),
    firstEventTime,
    lastEventTime: lastEventTime ?? firstEventTime,
    elapsedMs: Math.round(clock.monotonic() - startedAt),
  }
}

interface Target {
  readonly topic: string
  readonly subject: string
  readonly schema: AvroSchema
  readonly keyOf: (record: DataRecord) => string | null
}

async function startProducer(
  { admin, writer, registry, clock, logger, start }: ReplayDeps,
  { topic, subject, schema, keyOf }: Target,
  onFailure: (error: unknown) => void,
): Promise<CountedProducer> {
  const producer = await start(`producer of ${topic}`, () =>
    startAvroProducer<DataRecord>({
      topic,
      subject,
      schema,
      keyOf,
      admin,
      writer,
      registry,
      clock,
      limits: LIMITS,
      maxBytesInFlight: MAX_BYTES_IN_FLIGHT,
      stopWithinMs: STOP_WITHIN_MS,
      retry: RETRY,
      onRetry: ({ partition, attempt, error }) =>
        logger.warn({ ...describeError(error), topic, partition, attempt }, 'the replay waits for Kafka'),
    }),
  )
  return createCountedProducer(producer, onFailure)
}

async function openFile({ pipeline, start }: ReplayDeps, name: string, timeField: string): Promise<TimedRecords> {
  const file = join(pipeline.folder, 'data', `${name}.avro`)
  return await start(file, async () => {
    const records = await openTimedFile(file, timeField)
    return { value: records, stop: () => records.close() }
  })
}

async function connectedRedis({ start, connectRedis }: ReplayDeps): Promise<RedisClient> {
  return await start('Redis', async () => {
    const redis = connectRedis()
    return { value: redis, stop: () => redis.close() }
  })
}

function keyText(field: string | null, record: DataRecord): string | null {
  const value = field === null ? null : record[field]
  return value === null || value === undefined ? null : String(value)
}

function rowKeyText(table: CompiledTable, row: DataRecord): string {
  return tableKeyText(table.keyFields.map((field) => row[field] as NonNullable<Scalar>))
}

function perPartition({ partitions }: CountedProducer): readonly number[] {
  const last = Math.max(-1, ...partitions.keys())
  return Array.from({ length: last + 1 }, (_, partition) => partitions.get(partition)?.records ?? 0)
}

function fromText({ from }: Pick<ReplayOptions, 'from'>): string {
  return from === null ? 'the beginning' : new Date(from).toISOString()
}
