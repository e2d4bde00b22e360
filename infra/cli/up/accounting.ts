import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'

/** Records of a topic, by partition: from the first offset up to, but not including, the second. */
export type Span = ReadonlyMap<number, readonly [from: number, to: number]>

/** Where a topic ended when a run began. */
export type Mark = ReadonlyMap<number, number>

export async function endOf(admin: KafkaAdmin, topic: string): Promise<Mark> {
  return new Map((await admin.ranges(topic)).map(({ partition, high }) => [partition, high]))
}

async function spanSince(admin: KafkaAdmin, topic: string, mark: Mark): Promise<Span> {
  const ranges = await admin.ranges(topic)
  return new Map(ranges.map(({ partition, high }) => [partition, [mark.get(partition) ?? 0, high]]))
}

function spanLength(span: Span): number {
  let length = 0
  for (const [from, to] of span.values()) length += to - from
  return length
}

/** The ledger of a run: what became of every record of the events and labels topics that it wrote. */
export interface Account {
  readonly events: number
  readonly predicted: number
  readonly deadLetters: readonly { readonly stage: string; readonly reason: string; readonly count: number }[]
  /** Events that are neither predicted nor dead-lettered. */
  readonly missing: number
  /** Rows beyond one per event, after ClickHouse's deduplication; an event with both ends counts as one too many. */
  readonly duplicates: number
  readonly labels: number
  readonly labelsStored: number
  readonly labelsUnstored: number
  readonly labelsMissing: number
}

export interface RunMarks {
  readonly events: Mark
  readonly labels: Mark | null
  /** Topic ids. */
  readonly eventsGeneration: string
  readonly labelsGeneration: string | null
}

export async function account(
  pipeline: CompiledPipeline,
  admin: KafkaAdmin,
  clickhouse: ClickHouseClient,
  marks: RunMarks,
): Promise<Account> {
  const events = await spanSince(admin, pipeline.event.topic, marks.events)
  const ends = await eventEnds(pipeline, clickhouse, marks.eventsGeneration, events)
  const labels = await labelAccount(pipeline, admin, clickhouse, marks)
  return {
    events: spanLength(events),
    predicted: ends.predicted,
    deadLetters: ends.deadLetters,
    missing: spanLength(events) - ends.ended,
    duplicates: ends.predictionRows + ends.deadLetterRows - ends.ended,
    ...labels,
  }
}

interface EventEnds {
  readonly predicted: number
  readonly predictionRows: number
  readonly deadLetterRows: number
  /** Events with at least one end. */
  readonly ended: number
  readonly deadLetters: Account['deadLetters']
}

async function eventEnds(
  pipeline: CompiledPipeline,
  clickhouse: ClickHouseClient,
  generation: string,
  span: Span,
): Promise<EventEnds> {
  const parameters = { pipeline: pipeline.name, generation }
  const [row] = await clickhouse.rows<Record<'predicted' | 'predictions' | 'dead' | 'ended', string>>(
    `WITH ends AS (
       SELECT 'prediction' AS end, kafka_partition AS lane, toInt64(origin_offset) AS at FROM predictions FINAL
       WHERE pipeline = {pipeline:String} AND role != 'shadow' AND origin_generation = {generation:String}
       UNION ALL
       SELECT 'dead letter', partition, origin_offset FROM dead_letters FINAL
       WHERE pipeline = {pipeline:String} AND kind != 'unstored' AND origin_generation = {generation:String}
     )
     SELECT countIf(end = 'prediction') AS predictions, countIf(end = 'dead letter') AS dead,
            uniqExactIf((lane, at), end = 'prediction') AS predicted, uniqExact((lane, at)) AS ended
     FROM ends WHERE ${within(span, 'lane', 'at')}`,
    parameters,
  )
  const reasons = await clickhouse.rows<{ stage: string; reason: string; count: string }>(
    `SELECT stage, reason, count() AS count FROM dead_letters FINAL
     WHERE pipeline = {pipeline:String} AND kind != 'unstored' AND origin_generation = {generation:String}
       AND ${within(span, 'partition', 'origin_offset')}
     GROUP BY stage, reason ORDER BY count DESC`,
    parameters,
  )
  return {
    predicted: Number(row?.predicted ?? 0),
    predictionRows: Number(row?.predictions ?? 0),
    deadLetterRows: Number(row?.dead ?? 0),
    ended: Number(row?.ended ?? 0),
    deadLetters: reasons.map(({ stage, reason, count }) => ({ stage, reason, count: Number(count) })),
  }
}

async function labelAccount(
  pipeline: CompiledPipeline,
  admin: KafkaAdmin,
  clickhouse: ClickHouseClient,
  marks: RunMarks,
): Promise<Pick<Account, 'labels' | 'labelsStored' | 'labelsUnstored' | 'labelsMissing'>> {
  if (pipeline.label === null || marks.labels === null || marks.labelsGeneration === null) {
    return { labels: 0, labelsStored: 0, labelsUnstored: 0, labelsMissing: 0 }
  }
  const span = await spanSince(admin, pipeline.label.topic, marks.labels)
  const [row] = await clickhouse.rows<Record<'stored' | 'unstored', string>>(
    `SELECT
       (SELECT uniqExact((kafka_partition, kafka_offset)) FROM labels
        WHERE pipeline = {pipeline:String} AND kafka_generation = {generation:String}
          AND ${within(span, 'kafka_partition', 'kafka_offset')}) AS stored,
       (SELECT uniqExact((partition, source_offset)) FROM dead_letters
        WHERE pipeline = {pipeline:String} AND source_generation = {generation:String} AND kind = 'unstored'
          AND ${within(span, 'partition', 'source_offset')}) AS unstored`,
    { pipeline: pipeline.name, generation: marks.labelsGeneration },
  )
  const labels = spanLength(span)
  const labelsStored = Number(row?.stored ?? 0)
  const labelsUnstored = Number(row?.unstored ?? 0)
  return { labels, labelsStored, labelsUnstored, labelsMissing: labels - labelsStored - labelsUnstored }
}

/** SQL: the coordinates lie in the span. Numbers only, so nothing can be injected. */
function within(span: Span, partition: string, offset: string): string {
  const lanes = [...span].filter(([, [from, to]]) => to > from)
  if (lanes.length === 0) return 'false'
  return `(${lanes.map(([lane, [from, to]]) => `(${partition} = ${lane} AND ${offset} >= ${from} AND ${offset} < ${to})`).join(' OR ')})`
}
