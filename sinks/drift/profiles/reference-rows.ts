import { randomUUID } from 'node:crypto'
import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'

/**
 * The rows of a reference in a table of their own, so that everything that a profile says is of the very same rows, whatever is stored
 * meanwhile. Columns: features Array(Float32), score Float32 (NaN = none), label Float64 (NaN = none), segment String,
 * at Float64 (event time, epoch ms, NaN = none).
 */
export interface ReferenceRows {
  readonly table: string
  readonly hasScore: boolean
  readonly hasTimes: boolean
}

/** A window of the pipeline's predictions; times are epoch ms, from ≤ event time < to. */
export interface PredictionWindow {
  readonly from: number
  readonly to: number
  /** Null = every version. */
  readonly modelVersion: string | null
}

const SCRATCH = 'profile_scratch_'

/** Calls `work` with a table that is gone afterwards; one that a crash left behind is dropped a day later. */
export async function withScratchTable<T>(
  clickhouse: Pick<ClickHouseClient, 'command' | 'rows'>,
  columns: string,
  work: (table: string) => Promise<T>,
): Promise<T> {
  const left = await clickhouse.rows<{ name: string }>(
    `SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '${SCRATCH}')
       AND metadata_modification_time < now() - INTERVAL 1 DAY`,
  )
  for (const { name } of left) await clickhouse.command(`DROP TABLE IF EXISTS ${name}`)
  const table = `${SCRATCH}${randomUUID().replaceAll('-', '')}`
  await clickhouse.command(`CREATE TABLE ${table} (${columns}) ENGINE = MergeTree ORDER BY tuple()`)
  try {
    return await work(table)
  } finally {
    await clickhouse.command(`DROP TABLE IF EXISTS ${table}`)
  }
}

export const REFERENCE_COLUMNS = 'features Array(Float32), score Float32, label Float64, segment String, at Float64'

/** Fills the table with what was answered in the window for the pipeline's feature set, each event once, with its label where it came. What a fallback answered is no score of the model. */
export async function copyPredictions(
  clickhouse: Pick<ClickHouseClient, 'command'>,
  { name, model, featureSet }: Pick<CompiledPipeline, 'name' | 'model' | 'featureSet'>,
  { from, to, modelVersion }: PredictionWindow,
  table: string,
): Promise<ReferenceRows> {
  const pipeline = `pipeline = ${sqlText(name)}`
  const where = [
    pipeline,
    `event_time >= fromUnixTimestamp64Milli(${from}, 'UTC') AND event_time < fromUnixTimestamp64Milli(${to}, 'UTC')`,
    // the key's own expression, so that other hours are not read
    `toStartOfHour(event_time) BETWEEN toStartOfHour(fromUnixTimestamp64Milli(${from}, 'UTC')) AND fromUnixTimestamp64Milli(${to}, 'UTC')`,
    `feature_set = ${sqlText(featureSet.digest)} AND model = ${sqlText(model.name)} AND role IN ('primary', 'canary')`,
    ...(modelVersion === null ? [] : [`model_version = ${sqlText(modelVersion)}`]),
  ].join(' AND ')
  await clickhouse.command(`
    INSERT INTO ${table} (features, score, label, segment, at)
    SELECT p.features, p.model_score, if(l.known = 1, l.value, nan), p.segment, toFloat64(toUnixTimestamp64Milli(p.event_time))
    FROM (SELECT tenant, event_id, event_time, features, if(answer = 'fallback', nan, score) AS model_score, segment FROM predictions FINAL WHERE ${where}) AS p
    LEFT JOIN (
      SELECT tenant, event_id, value, 1 AS known FROM labels FINAL
      WHERE ${pipeline} AND kind IN ('boolean', 'number')
        AND (tenant, event_id) IN (SELECT tenant, event_id FROM predictions WHERE ${where})
    ) AS l ON p.tenant = l.tenant AND p.event_id = l.event_id
    SETTINGS do_not_merge_across_partitions_select_final = 1, join_use_nulls = 0`)
  return { table, hasScore: true, hasTimes: true }
}
