import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import type { CompiledMonitor } from '../../../schemas/pipeline/monitor.ts'
import type { DriftPart } from '../drift-part.ts'
import { newRecords, noteProgress, touchedPanes } from './performance-inputs.ts'
import { replacePerformancePanes } from './performance-panes.ts'
import { dueWindows, scoreWindows } from './quality-scores.ts'

export interface QualityDeps {
  readonly pipeline: string
  readonly monitor: CompiledMonitor
  readonly clickhouse: Pick<ClickHouseClient, 'rows' | 'insert' | 'command'>
  readonly clock: Pick<Clock, 'now'>
  /** Records of a partition in one round. */
  readonly maxRecords?: number
}

const MAX_RECORDS = 200_000
/** Panes in one statement: each has histograms by lag, segment and version. */
const PANES_AT_ONCE = 100

/**
 * How good predictions were: panes and scores of whatever predictions, shadows and labels have come since the last round. Progress is noted
 * last, so that a round that was cut off is done again, from where it began; and all of it replaces what is there.
 */
export function createQuality(deps: QualityDeps): DriftPart {
  const { pipeline, monitor, clickhouse, clock, maxRecords = MAX_RECORDS } = deps
  const { paneMs, windowMs, threshold, minRows } = monitor
  const settings = { pipeline, paneMs, windowMs, threshold, minRows }

  return {
    name: 'quality',
    async round({ profile, seenUntil, signal }) {
      if (seenUntil === null) return false
      const records = await newRecords(clickhouse, settings, maxRecords)
      const panes = await touchedPanes(clickhouse, settings, records)
      for (let at = 0; at < panes.length; at += PANES_AT_ONCE) {
        if (signal.aborted) return false
        await replacePerformancePanes(clickhouse, settings, panes.slice(at, at + PANES_AT_ONCE))
      }
      const moment = { profile, seenUntil, now: clock.now() }
      const windows = new Set(panes.map((pane) => Math.floor(pane / windowMs) * windowMs))
      await scoreWindows(clickhouse, settings, moment, [...windows])
      await noteProgress(clickhouse, settings, records, clock.now())
      const due = await dueWindows(clickhouse, settings, moment)
      await scoreWindows(clickhouse, settings, moment, due)
      return records.some(({ behind }) => behind > 0) || due.length > 0
    },
  }
}
