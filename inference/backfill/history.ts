import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { BackfillRun } from './runs.ts'

/** Events of one partition that were ingested on one day: their offsets, both inclusive. */
export interface Stretch {
  /** ISO date, UTC. */
  readonly day: string
  readonly generation: string
  readonly partition: number
  readonly first: number
  readonly last: number
  readonly rows: number
}

/** A stored prediction, as far as it is scored again. */
export interface HistoryRow {
  readonly tenant: string
  readonly segment: string
  readonly event_id: string
  readonly event_time: number
  readonly origin_generation: string
  readonly kafka_partition: number
  readonly origin_offset: number
  readonly degraded: boolean
  readonly features: Float32Array
}

type Client = Pick<ClickHouseClient, 'rows' | 'insert'>

/** What was served in the run's time; for predictions that answered events, not for shadows. */
export const SERVED = `pipeline = {pipeline:String} AND role IN ('primary', 'canary')
  AND event_time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND event_time < fromUnixTimestamp64Milli({to:Int64}, 'UTC')`
const OF_FEATURE_SET = `${SERVED} AND feature_set = {featureSet:String}`
const OF_STRETCH = `${OF_FEATURE_SET} AND toDate(ingested_at) = {day:Date} AND origin_generation = {generation:String}
  AND kafka_partition = {partition:Int32}`

/** A copy of a row is in the partition of its ingestion. */
const BY_PARTITION = 'SETTINGS do_not_merge_across_partitions_select_final = 1'

export function parametersOf({ pipeline, featureSet, from, to }: BackfillRun): Readonly<Record<string, unknown>> {
  return { pipeline, featureSet, from, to }
}

/** Predictions of the run's time that were made of another feature set: the version cannot score them. */
export async function countOthers(client: Client, run: BackfillRun): Promise<number> {
  const [row] = await client.rows<{ readonly n: string }>(
    `SELECT count() AS n FROM predictions FINAL WHERE ${SERVED} AND feature_set != {featureSet:String} ${BY_PARTITION}`,
    parametersOf(run),
  )
  return Number(row?.n ?? 0)
}

/**
 * What the run has still to score, in order of day and coordinates. Of each stretch what is stored by now: the sinks store a partition in
 * order, so what comes later is behind it, and a later call tells.
 */
export async function remaining(client: Client, run: BackfillRun): Promise<readonly Stretch[]> {
  const rows = await client.rows<Record<keyof Stretch, string>>(
    `SELECT toString(p.day) AS day, p.generation AS generation, p.partition AS partition,
  min(p.origin_offset) AS first, max(p.origin_offset) AS last, uniqExact(p.origin_offset) AS rows
FROM
(
    SELECT toDate(ingested_at) AS day, toString(origin_generation) AS generation, kafka_partition AS partition, origin_offset
    FROM predictions WHERE ${OF_FEATURE_SET}
) AS p
LEFT JOIN
(
    SELECT day, toString(origin_generation) AS generation, kafka_partition AS partition, next_offset
    FROM backfill_progress FINAL WHERE pipeline = {pipeline:String} AND run = {run:String}
) AS d ON p.day = d.day AND p.generation = d.generation AND p.partition = d.partition
WHERE p.origin_offset >= d.next_offset
GROUP BY p.day, p.generation, p.partition
ORDER BY day, generation, partition`,
    { ...parametersOf(run), run: run.run },
  )
  return rows.map(({ day, generation, partition, first, last, rows: count }) => ({
    day,
    generation,
    partition: Number(partition),
    first: Number(first),
    last: Number(last),
    rows: Number(count),
  }))
}

/** The rows of a stretch with offsets from `from` until before `to`, in order. */
export async function readHistory(
  client: Client,
  run: BackfillRun,
  { day, generation, partition }: Stretch,
  offsets: { readonly from: number; readonly to: number },
): Promise<readonly HistoryRow[]> {
  const rows = await client.rows<
    Omit<HistoryRow, 'event_time' | 'origin_offset' | 'features'> &
      Record<'event_time' | 'origin_offset', string> & { readonly features: readonly (number | string)[] }
  >(
    `SELECT tenant, segment, event_id, toUnixTimestamp64Milli(p.event_time) AS event_time, origin_generation, kafka_partition,
  origin_offset, degraded, features
FROM (SELECT * FROM predictions FINAL WHERE ${OF_STRETCH} AND origin_offset >= {first:UInt64} AND origin_offset < {end:UInt64}) AS p
ORDER BY p.origin_offset ${BY_PARTITION}`,
    { ...parametersOf(run), day, generation, partition, first: offsets.from, end: offsets.to },
  )
  return rows.map((row) => ({
    ...row,
    event_time: Number(row.event_time),
    origin_offset: Number(row.origin_offset),
    features: Float32Array.from(row.features, asNumber),
  }))
}

/** Where the stretch goes on behind an offset that has nothing; its end when it does not. */
export async function nextOffset(
  client: Client,
  run: BackfillRun,
  { day, generation, partition, last }: Stretch,
  from: number,
): Promise<number> {
  const [row] = await client.rows<{ readonly n: string; readonly first: string }>(
    `SELECT count() AS n, min(origin_offset) AS first FROM predictions WHERE ${OF_STRETCH}
  AND origin_offset >= {first:UInt64} AND origin_offset <= {last:UInt64}`,
    { ...parametersOf(run), day, generation, partition, first: from, last },
  )
  return row === undefined || Number(row.n) === 0 ? last + 1 : Number(row.first)
}

/** To be called when everything of the stretch below the offset is stored. */
export async function noteProgress(
  client: Client,
  { pipeline, run }: BackfillRun,
  { day, generation, partition }: Stretch,
  next: number,
): Promise<void> {
  const row = { pipeline, run, day, origin_generation: generation, kafka_partition: partition, next_offset: next }
  await client.insert('backfill_progress', Object.keys(row), [row])
}

/** What is not finite comes as text. */
function asNumber(value: number | string): number {
  if (typeof value === 'number') return value
  if (value === 'inf') return Number.POSITIVE_INFINITY
  return value === '-inf' ? Number.NEGATIVE_INFINITY : Number.NaN
}
