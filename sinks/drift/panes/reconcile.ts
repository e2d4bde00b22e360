import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import { type OffsetRange, offsetsSql, openRanges, type PanesName } from './pane-progress.ts'
import { HAS_PANE, inPanesSql, paneRowsSql, paneSql, runsOf } from './pane-time.ts'
import { type CountedOf, countedSql } from './replace-panes.ts'
import { serverTime } from './server-time.ts'

/** A pane whose counts do not add up to its predictions. */
export interface PaneFault {
  /** Start, epoch ms. */
  readonly pane: number
  /** Predictions, each once. */
  readonly predictions: number
  /** What the pane has of the subject that is farthest from that. */
  readonly counted: number
}

export interface Reconciled {
  /** Panes that were compared; those with records beyond the progress were not. */
  readonly panes: number
  readonly predictions: number
  readonly faults: readonly PaneFault[]
}

/**
 * Compares panes with `count()` of the predictions FINAL: every subject of a pane must have counted each of them exactly once. Says nothing
 * of panes that are about to be computed anew, and where predictions are only kept for a time nothing of panes that have counted more than is
 * left. `panes` null = all of them. May run at any time, beside who computes them.
 */
export async function reconcilePanes(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: PanesName & CountedOf,
  lanes: readonly Pick<OffsetRange, 'generation' | 'partition'>[],
  panes: readonly number[] | null,
): Promise<Reconciled> {
  if (lanes.length === 0 || panes?.length === 0) return { panes: 0, predictions: 0, faults: [] }
  // what is computed from here on may know more than what is read here
  const began = await serverTime(clickhouse)
  const done = (await openRanges(clickhouse, of, lanes)).map((range) => ({ ...range, from: 0, to: range.from }))
  const rows = await clickhouse.rows<{ pane: number; predictions: number; open: number }>(
    `SELECT toFloat64(${paneSql(of.paneMs)}) AS pane, toFloat64(count()) AS predictions, toFloat64(countIf(NOT ${offsetsSql(done)})) AS open
     FROM predictions FINAL WHERE ${countedSql(of)} AND ${panes === null ? HAS_PANE : inPanesSql(panes, of.paneMs)}
     GROUP BY pane ORDER BY pane SETTINGS do_not_merge_across_partitions_select_final = 1`,
  )
  const expires = await hasRetention(clickhouse)
  const counted = await clickhouse.rows<CountedPane>(
    `SELECT toFloat64(toUnixTimestamp(pane_)) * 1000 AS pane, min(total) AS least, max(total) AS most, max(at) AS computedAt FROM
     (
       SELECT pane AS pane_, subject, position, toFloat64(sum(arraySum(counts))) AS total,
         toFloat64(toUnixTimestamp64Milli(max(computed_at))) AS at FROM feature_panes FINAL
       WHERE pipeline = ${sqlText(of.pipeline)} AND profile = ${sqlText(of.profile)} AND segment = '*'
         AND ${panes === null ? `pane_seconds = ${of.paneMs / 1_000}` : paneRowsSql(runsOf(panes, of.paneMs), of.paneMs)}
       GROUP BY pane_, subject, position
     ) GROUP BY pane_`,
  )
  return compare(rows, new Map(counted.map((row) => [row.pane, row])), { began, expires })
}

interface CountedPane {
  readonly pane: number
  readonly least: number
  readonly most: number
  readonly computedAt: number
}

function compare(
  rows: readonly { readonly pane: number; readonly predictions: number; readonly open: number }[],
  counted: Map<number, Omit<CountedPane, 'pane'>>,
  { began, expires }: { readonly began: number; readonly expires: boolean },
): Reconciled {
  const faults: PaneFault[] = []
  let panes = 0
  let predictions = 0
  for (const row of rows) {
    const { least, most, computedAt } = counted.get(row.pane) ?? { least: 0, most: 0, computedAt: 0 }
    counted.delete(row.pane)
    if (row.open > 0 || computedAt >= began || (expires && most > row.predictions)) continue
    panes += 1
    predictions += row.predictions
    const farthest = row.predictions - least > most - row.predictions ? least : most
    if (farthest !== row.predictions) faults.push({ pane: row.pane, predictions: row.predictions, counted: farthest })
  }
  // panes of predictions that are not there any more
  for (const [pane, { most, computedAt }] of counted) {
    if (most > 0 && computedAt < began && !expires) faults.push({ pane, predictions: 0, counted: most })
  }
  return { panes, predictions, faults }
}

async function hasRetention(clickhouse: Pick<ClickHouseClient, 'rows'>): Promise<boolean> {
  const [row] = await clickhouse.rows<{ ttl: number }>(
    `SELECT toUInt8(position(engine_full, ' TTL ') > 0) AS ttl FROM system.tables
     WHERE database = currentDatabase() AND name = 'predictions'`,
  )
  return row?.ttl === 1
}
