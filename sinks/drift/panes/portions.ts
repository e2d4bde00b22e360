import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { inPanesSql, paneSql } from './pane-time.ts'

/** Panes that are computed together. */
export interface PanePortion {
  /** Starts, epoch ms. */
  readonly panes: readonly number[]
  /** Stored predictions in them. */
  readonly rows: number
}

/** Panes (starts) in portions of at most `maxRows` predictions (one pane may have more) and `maxPanes`, by how many are in them now. */
export async function portionsOfPanes(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: {
    /** Which predictions are counted, in SQL. */
    readonly where: string
    readonly paneMs: number
    readonly maxPanes: number
    readonly maxRows: number
  },
  panes: readonly number[],
): Promise<readonly PanePortion[]> {
  const { where, paneMs, maxPanes, maxRows } = of
  const portions: { panes: number[]; rows: number }[] = []
  for (let at = 0; at < panes.length; at += maxPanes) {
    const some = panes.slice(at, at + maxPanes)
    const counted = await clickhouse.rows<{ pane: number; rows: number }>(
      `SELECT toFloat64(${paneSql(paneMs)}) AS pane, toFloat64(count()) AS rows FROM predictions
       WHERE ${where} AND ${inPanesSql(some, paneMs)} GROUP BY pane`,
    )
    const counts = new Map(counted.map(({ pane, rows }) => [pane, rows]))
    let last: (typeof portions)[number] | undefined
    for (const pane of some) {
      const rows = counts.get(pane) ?? 0
      if (last === undefined || last.rows + rows > maxRows) {
        last = { panes: [], rows: 0 }
        portions.push(last)
      }
      last.panes.push(pane)
      last.rows += rows
    }
  }
  return portions
}
