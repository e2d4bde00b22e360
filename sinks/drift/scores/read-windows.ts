import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import type { PanesName } from '../panes/pane-progress.ts'
import { paneRowsSql, runsOf } from '../panes/pane-time.ts'

interface WindowKey {
  readonly version: string
  readonly role: string
  /** '*' = all of them. */
  readonly segment: string
  /** Start, epoch ms. */
  readonly window: number
}

/** The sum of a subject's panes. */
export interface SubjectWindow extends WindowKey {
  readonly subject: 'feature' | 'score'
  readonly position: number
  readonly n: number
  readonly counts: readonly number[]
}

/** The sum of panes of moments, and how much the panes differ in a weighted sum r of theirs: sums over panes. */
export interface MomentWindow extends WindowKey {
  readonly n: number
  /** Upper triangle of the sum of x·xᵀ. */
  readonly products: readonly number[]
  readonly panes: number
  readonly r: number
  readonly rr: number
  readonly rn: number
  readonly nn: number
}

export interface WindowsOf extends PanesName {
  readonly windowMs: number
}

/** Panes are partitioned by their time, so versions of one lie together. */
const SETTINGS = 'SETTINGS do_not_merge_across_partitions_select_final = 1'

/** Counts of these windows (starts, ascending). */
export async function readSubjectWindows(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: WindowsOf,
  windows: readonly number[],
): Promise<readonly SubjectWindow[]> {
  return await clickhouse.rows(
    `SELECT model_version AS version, role, segment, subject, position, ${windowSql(of)} AS window,
       toFloat64(sum(n)) AS n, arrayMap(c -> toFloat64(c), sumForEach(counts)) AS counts
     FROM feature_panes FINAL WHERE ${rowsSql(of, windows)}
     GROUP BY version, role, segment, subject, position, window ${SETTINGS}`,
  )
}

/** Moments of these windows; `weights` = what r sums, of products. */
export async function readMomentWindows(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: WindowsOf,
  windows: readonly number[],
  weights: readonly number[],
): Promise<readonly MomentWindow[]> {
  return await clickhouse.rows(
    `SELECT model_version AS version, role, segment, ${windowSql(of)} AS window, sum(n_) AS n,
       sumForEach(products_) AS products, toFloat64(count()) AS panes, sum(r_) AS r, sum(r_ * r_) AS rr, sum(r_ * n_) AS rn,
       sum(n_ * n_) AS nn
     FROM
     (
       SELECT model_version, role, segment, pane, toFloat64(n) AS n_, products AS products_,
         arrayDotProduct(products, CAST([${weights.join(', ')}], 'Array(Float64)')) AS r_
       FROM moment_panes FINAL WHERE ${rowsSql(of, windows)} AND n > 0 AND length(products) = ${weights.length}
     )
     GROUP BY version, role, segment, window ${SETTINGS}`,
  )
}

function windowSql({ windowMs }: WindowsOf): string {
  return `toFloat64(intDiv(toUnixTimestamp(pane), ${windowMs / 1_000}) * ${windowMs})`
}

function rowsSql(of: WindowsOf, windows: readonly number[]): string {
  const panes = runsOf(windows, of.windowMs)
  return `pipeline = ${sqlText(of.pipeline)} AND profile = ${sqlText(of.profile)} AND ${paneRowsSql(panes, of.paneMs)}`
}
