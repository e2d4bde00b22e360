import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'

/** Offsets of `events` without a gap, each with an end in ClickHouse. */
export interface EndedEvents {
  readonly first: number
  readonly last: number
  readonly predicted: number
  readonly deadLettered: number
}

export interface EventRange {
  readonly pipeline: string
  /** Topic id of `events`. */
  readonly generation: string
  readonly partition: number
  readonly from: number
  readonly to: number
}

/*
 * Indexes may be used with FINAL here: copies of a row have the same origin, so none is looked at without the others.
 */

/** What has ended of [from, to), ascending, as runs; a record with two ends counts twice in them. */
export async function readEnds(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  range: EventRange,
): Promise<readonly EndedEvents[]> {
  const rows = await clickhouse.rows<Record<'first' | 'last' | 'predicted' | 'letters', string>>(
    `SELECT min(at) AS first, max(at) AS last, sum(predictions) AS predicted, sum(ends) - sum(predictions) AS letters FROM (
       SELECT at, predictions, ends, at - row_number() OVER (ORDER BY at) AS run FROM (
         SELECT at, toInt64(count()) AS ends, toInt64(countIf(is_prediction)) AS predictions FROM (
           SELECT toInt64(origin_offset) AS at, true AS is_prediction FROM predictions FINAL
           WHERE pipeline = {pipeline:String} AND role != 'shadow' AND origin_generation = {generation:String}
             AND kafka_partition = {partition:Int32} AND origin_offset >= {from:UInt64} AND origin_offset < {to:UInt64}
           UNION ALL
           SELECT origin_offset, false FROM dead_letters FINAL
           WHERE pipeline = {pipeline:String} AND kind IN ('rejected', 'filtered') AND origin_generation = {generation:String}
             AND partition = {partition:Int32} AND origin_offset >= {from:UInt64} AND origin_offset < {to:UInt64}
         ) GROUP BY at
       )
     ) GROUP BY run ORDER BY first
     SETTINGS use_skip_indexes_if_final = 1`,
    { ...range },
  )
  return rows.map(({ first, last, predicted, letters }) => ({
    first: Number(first),
    last: Number(last),
    predicted: Number(predicted),
    deadLettered: Number(letters),
  }))
}

/** Per partition the highest offset of `events` among the predictions that sinks have stored for sure. */
export async function readLastOrigins(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  {
    pipeline,
    events,
    predictionsGeneration,
    storedBelow,
  }: {
    readonly pipeline: string
    readonly events: { readonly generation: string }
    readonly predictionsGeneration: string
    readonly storedBelow: ReadonlyMap<number, number | null>
  },
): Promise<ReadonlyMap<number, number>> {
  // numbers only, so nothing can be injected; a lane's last predictions are enough, they are in its order
  const lanes = [...storedBelow].flatMap(([partition, below]) =>
    below === null || below === 0
      ? []
      : [
          `(kafka_partition = ${partition} AND kafka_offset < ${below} AND kafka_offset >= ${Math.max(0, below - LOOK_BACK)})`,
        ],
  )
  if (lanes.length === 0) return new Map()
  const rows = await clickhouse.rows<{ lane: number; origin: string }>(
    `SELECT kafka_partition AS lane, max(origin_offset) AS origin FROM predictions
     WHERE pipeline = {pipeline:String} AND kafka_generation = {predictionsGeneration:String} AND role != 'shadow'
       AND origin_generation = {generation:String} AND (${lanes.join(' OR ')})
     GROUP BY lane`,
    { pipeline, predictionsGeneration, generation: events.generation },
  )
  return new Map(rows.map(({ lane, origin }) => [lane, Number(origin)]))
}

/** Offsets below a committed position that hold a prediction for sure: the rest are markers of claims. */
const LOOK_BACK = 10_000
