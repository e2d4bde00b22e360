import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { type OffsetRange, offsetsSql } from './pane-progress.ts'
import { HAS_PANE, inPanesSql, paneSql } from './pane-time.ts'
import { countedSql, type PanesOf } from './replace-panes.ts'

/** Panes that are computed together, because together they are of a bearable size. */
const MAX_ROWS = 1_000_000
const MAX_PANES = 400

/** The panes that these records lie in, ascending. */
export async function touchedPanes(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: PanesOf,
  ranges: readonly OffsetRange[],
): Promise<readonly number[]> {
  if (ranges.length === 0) return []
  const rows = await clickhouse.rows<{ pane: number }>(
    `SELECT toFloat64(${paneSql(of.paneMs)}) AS pane FROM predictions
     WHERE ${countedSql(of)} AND ${HAS_PANE} AND ${offsetsSql(ranges)} GROUP BY pane ORDER BY pane`,
  )
  return rows.map(({ pane }) => pane)
}

/** The panes in portions, by how many predictions are in them now. */
export async function portionsOf(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: PanesOf,
  panes: readonly number[],
): Promise<readonly (readonly number[])[]> {
  const portions: number[][] = []
  for (let at = 0; at < panes.length; at += MAX_PANES) {
    const some = panes.slice(at, at + MAX_PANES)
    const rows = await clickhouse.rows<{ pane: number; rows: number }>(
      `SELECT toFloat64(${paneSql(of.paneMs)}) AS pane, toFloat64(count()) AS rows FROM predictions
       WHERE ${countedSql(of)} AND ${inPanesSql(some, of.paneMs)} GROUP BY pane`,
    )
    const counts = new Map(rows.map((row) => [row.pane, row.rows]))
    let sum = Number.POSITIVE_INFINITY
    for (const pane of some) {
      const count = counts.get(pane) ?? 0
      if (sum + count > MAX_ROWS) {
        portions.push([])
        sum = 0
      }
      portions.at(-1)?.push(pane)
      sum += count
    }
  }
  return portions
}
