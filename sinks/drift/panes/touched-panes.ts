import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { type OffsetRange, offsetsSql } from './pane-progress.ts'
import { HAS_PANE, paneSql } from './pane-time.ts'
import { type PanePortion, portionsOfPanes } from './portions.ts'
import { countedSql, type PanesOf } from './replace-panes.ts'

/** Panes that are computed together, because together they are of a bearable size. */
const PORTION = { maxPanes: 400, maxRows: 1_000_000 }

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

/** The panes in portions of a bearable size. */
export async function portionsOf(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: PanesOf,
  panes: readonly number[],
): Promise<readonly PanePortion[]> {
  return await portionsOfPanes(clickhouse, { where: countedSql(of), paneMs: of.paneMs, ...PORTION }, panes)
}
