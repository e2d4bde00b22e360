import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import type { ReferenceMoments, ReferenceProfile } from '../../../schemas/control/profiles.ts'
import { countsSql, type PredictionColumns, productSumsSql, standardisedSql } from '../profiles/count-index.ts'
import type { PanesName } from './pane-progress.ts'
import { inPanesSql, paneRowsSql, paneSql, runsOf } from './pane-time.ts'

/** What says which predictions are counted. */
export interface CountedOf {
  readonly pipeline: string
  readonly content: Pick<ReferenceProfile, 'featureSet'>
}

export interface PanesOf extends PanesName {
  readonly content: ReferenceProfile
}

/** What a fallback answered is no score of the model: it counts as missing. */
const COLUMNS: PredictionColumns = { features: 'features', score: `if(answer = 'fallback', nan, score)` }
/** Copies of a prediction share its partition (0001_predictions.sql), so FINAL need not look across partitions. */
const SETTINGS = 'SETTINGS do_not_merge_across_partitions_select_final = 1'
const KEY = ['pane_at', 'version_', 'role_'] as const
/** A segment that is called like all of them is in all of them. */
const SHOWN = `arrayJoin(if(segment_ IN ('', '*'), ['*'], ['*', segment_]))`

/** Predictions that are counted: each once, those of the profile's features, and what was answered with. */
export function countedSql({ pipeline, content }: CountedOf): string {
  return `pipeline = ${sqlText(pipeline)} AND role != 'shadow' AND feature_set = ${sqlText(content.featureSet)}`
}

/**
 * Computes these panes (starts, ascending) anew from the predictions and replaces them whole: what they counted before and do not have any
 * more becomes 0. Of rows that were computed at the same or an earlier time by the server's clock, the later one stays; `computedAt` must
 * have been read from it after the records that made it necessary were seen. Safe to repeat, and to do twice at once.
 */
export async function replacePanes(
  clickhouse: Pick<ClickHouseClient, 'command'>,
  of: PanesOf,
  panes: readonly number[],
  computedAt: number,
): Promise<void> {
  if (panes.length === 0) return
  const replace = async (table: 'feature_panes' | 'moment_panes', sql: string): Promise<void> => {
    await clickhouse.command(sql)
    await clickhouse.command(emptiedSql(table, of, panes, computedAt))
  }
  const { moments } = of.content
  await Promise.all([
    replace('feature_panes', featurePanesSql(of, panes, computedAt)),
    moments === null ? null : replace('moment_panes', momentPanesSql(of, moments, panes, computedAt)),
  ])
}

function featurePanesSql(of: PanesOf, panes: readonly number[], computedAt: number): string {
  const { subjects } = of.content
  const at = subjects.map((_, index) => index)
  return `INSERT INTO feature_panes
  (pipeline, profile, model_version, role, subject, position, feature, segment, pane_seconds, pane, n, counts, computed_at)
SELECT ${sqlText(of.pipeline)}, ${sqlText(of.profile)}, version_, role_, s.1, s.2, s.3, shown, ${of.paneMs / 1_000},
  toDateTime(intDiv(pane_at, 1000), 'UTC'), n_, counts_, ${timeSql(computedAt)}
FROM
(
  SELECT ${KEY.join(', ')}, ${SHOWN} AS shown, sum(rows_) AS n_, ${at.map((index) => `sumForEach(c${index}) AS d${index}`).join(', ')}
  FROM
  (
    SELECT ${predictionKey(of)}, count() AS rows_, ${subjects.map((subject, index) => `${countsSql(subject, COLUMNS)} AS c${index}`).join(', ')}
    FROM predictions FINAL WHERE ${countedSql(of)} AND ${inPanesSql(panes, of.paneMs)}
    GROUP BY ${KEY.join(', ')}, segment_
  )
  GROUP BY ${KEY.join(', ')}, shown
)
ARRAY JOIN
  [${subjects.map(({ subject, position, name }) => `(${sqlText(subject)}, toInt32(${position}), ${sqlText(name)})`).join(', ')}] AS s,
  [${at.map((index) => `d${index}`).join(', ')}] AS counts_
${SETTINGS}`
}

function momentPanesSql(of: PanesOf, moments: ReferenceMoments, panes: readonly number[], computedAt: number): string {
  const columns = standardisedSql({ subjects: of.content.subjects, moments }, COLUMNS)
  const names = columns.map((_, index) => `x${index}`)
  return `INSERT INTO moment_panes
  (pipeline, profile, model_version, role, segment, pane_seconds, pane, n, products, computed_at)
SELECT ${sqlText(of.pipeline)}, ${sqlText(of.profile)}, version_, role_, ${SHOWN} AS shown, ${of.paneMs / 1_000},
  toDateTime(intDiv(pane_at, 1000), 'UTC'), sum(rows_), sumForEach(products_), ${timeSql(computedAt)}
FROM
(
  SELECT ${KEY.join(', ')}, segment_, count() AS rows_, ${productSumsSql(names)} AS products_
  FROM
  (
    SELECT ${predictionKey(of)}, ${columns.map((column, index) => `${column} AS x${index}`).join(', ')}
    FROM predictions FINAL WHERE ${countedSql(of)} AND ${inPanesSql(panes, of.paneMs)}
  )
  GROUP BY ${KEY.join(', ')}, segment_
)
GROUP BY ${KEY.join(', ')}, shown
${SETTINGS}`
}

function predictionKey({ paneMs }: PanesOf): string {
  return `${paneSql(paneMs)} AS pane_at, toString(model_version) AS version_, toString(role) AS role_, toString(segment) AS segment_`
}

/** Rows of these panes that this computation did not write: their version, role or segment has gone. */
function emptiedSql(
  table: 'feature_panes' | 'moment_panes',
  of: PanesOf,
  panes: readonly number[],
  computedAt: number,
): string {
  const key = table === 'feature_panes' ? ['subject', 'position', 'feature'] : []
  const columns = ['pipeline', 'profile', 'model_version', 'role', ...key, 'segment', 'pane_seconds', 'pane'].join(', ')
  const sums = table === 'feature_panes' ? 'counts' : 'products'
  return `INSERT INTO ${table} (${columns}, n, ${sums}, computed_at)
SELECT ${columns}, 0, [], ${timeSql(computedAt)} FROM ${table} FINAL
WHERE pipeline = ${sqlText(of.pipeline)} AND profile = ${sqlText(of.profile)} AND ${paneRowsSql(runsOf(panes, of.paneMs), of.paneMs)}
  AND n > 0 AND computed_at < ${timeSql(computedAt)}`
}

function timeSql(ms: number): string {
  return `fromUnixTimestamp64Milli(toInt64(${ms}), 'UTC')`
}
