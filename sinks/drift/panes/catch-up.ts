import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { noteProgress, type OffsetRange, openRanges } from './pane-progress.ts'
import { type PanesOf, replacePanes } from './replace-panes.ts'
import { serverTime } from './server-time.ts'
import { portionsOf, touchedPanes } from './touched-panes.ts'

export interface CaughtUp {
  /** Starts of the panes that were computed anew, ascending. */
  readonly panes: readonly number[]
  /** Records that are stored and not looked at yet. */
  readonly behind: number
}

/** Records that are looked at before progress is noted, of all partitions. */
const MAX_RECORDS = 1_000_000

/**
 * Computes the panes anew that records beyond the progress lie in, at most a million of them, and then notes the progress: after a crash
 * the same is done again. Late records open their panes again.
 */
export async function catchUp(
  clickhouse: Pick<ClickHouseClient, 'rows' | 'command' | 'insert'>,
  of: PanesOf,
  lanes: readonly Pick<OffsetRange, 'generation' | 'partition'>[],
  maxRecords = MAX_RECORDS,
): Promise<CaughtUp> {
  const open = (await openRanges(clickhouse, of, lanes)).filter(({ from, to }) => to > from)
  if (open.length === 0) return { panes: [], behind: 0 }
  const share = Math.max(1, Math.floor(maxRecords / open.length))
  const ranges = open.map((range) => ({ ...range, to: Math.min(range.to, range.from + share) }))
  const panes = await touchedPanes(clickhouse, of, ranges)
  let computedAt = await serverTime(clickhouse)
  for (const portion of await portionsOf(clickhouse, of, panes)) {
    computedAt = await serverTime(clickhouse)
    await replacePanes(clickhouse, of, portion.panes, computedAt)
  }
  await noteProgress(clickhouse, of, ranges, computedAt)
  const behind = open.reduce((sum, { to }, index) => sum + to - (ranges[index]?.to ?? to), 0)
  return { panes, behind }
}
