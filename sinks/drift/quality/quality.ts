import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import type { CompiledMonitor } from '../../../schemas/pipeline/monitor.ts'
import type { DriftPart } from '../drift-part.ts'
import { serverTime } from '../panes/server-time.ts'
import { newRecords, noteProgress, portionsOf, storedLanes, touchedPanes } from './performance-inputs.ts'
import { replacePerformancePanes } from './performance-panes.ts'
import { dueWindows, scoreWindows } from './quality-scores.ts'

export interface QualityDeps {
  readonly pipeline: string
  readonly monitor: CompiledMonitor
  readonly clickhouse: Pick<ClickHouseClient, 'rows' | 'insert' | 'command'>
  readonly clock: Pick<Clock, 'monotonic'>
  /** Records of a partition in one round. */
  readonly maxRecords?: number
}

const MAX_RECORDS = 200_000
/** A partition that is new is looked for so often. */
const LANES_EVERY_MS = 30_000

/**
 * How good predictions were: panes and scores of whatever predictions, shadows and labels have come since the last round. Progress is noted
 * last, so that a round that was cut off is done again, from where it began; and all of it replaces what is there.
 */
export function createQuality(deps: QualityDeps): DriftPart {
  const { pipeline, monitor, clickhouse, clock, maxRecords = MAX_RECORDS } = deps
  const { paneMs, windowMs, threshold, minRows } = monitor
  const settings = { pipeline, paneMs, windowMs, threshold, minRows }

  let lanes: Awaited<ReturnType<typeof storedLanes>> = []
  let lanesAt = Number.NEGATIVE_INFINITY

  return {
    name: 'quality',
    begin() {
      lanesAt = Number.NEGATIVE_INFINITY
    },
    async round({ profile, seenUntil, signal }) {
      if (seenUntil === null) return false
      if (clock.monotonic() - lanesAt >= LANES_EVERY_MS) {
        lanes = await storedLanes(clickhouse, pipeline)
        lanesAt = clock.monotonic()
      }
      // before anything is read: what was computed from older rows stands behind
      const moment = { profile, seenUntil, now: await serverTime(clickhouse) }
      const records = await newRecords(clickhouse, settings, lanes, maxRecords)
      const panes = await touchedPanes(clickhouse, settings, records)
      for (const portion of await portionsOf(clickhouse, settings, panes)) {
        if (signal.aborted) return false
        await replacePerformancePanes(clickhouse, settings, portion)
      }
      const windows = new Set(panes.map((pane) => Math.floor(pane / windowMs) * windowMs))
      await scoreWindows(clickhouse, settings, moment, [...windows])
      await noteProgress(clickhouse, settings, records, moment.now)
      const due = await dueWindows(clickhouse, settings, moment)
      await scoreWindows(clickhouse, settings, moment, due)
      return records.some(({ behind }) => behind > 0) || due.length > 0
    },
  }
}
