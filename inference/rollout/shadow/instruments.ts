import type { Metrics } from '../../../infra/runtime/telemetry/metrics.ts'
import type { RowFailure } from '../../execution/run-rows.ts'
import type { ServedVersion } from '../routes.ts'
import type { ShadowRows } from './shadow-rows.ts'

/**
 * Why rows were not shown to the shadow: `full` = they waited while later ones came, `unloaded` = its version is not loaded any
 * more, `stopped` = the process stops.
 */
export type DropReason = 'full' | 'unloaded' | 'stopped'

/**
 * What became of rows that were not dropped: `written`; `unfit` = the version may not be given them; what it failed on;
 * `invalid` = its answer may not be used; `unavailable` = there was nothing to run it on, or it fails whatever it is given;
 * `unwritten` = Kafka did not say that it has them; `broken` = they could not be read.
 */
export type ShadowEnd = 'written' | 'unfit' | RowFailure['reason'] | 'invalid' | 'unavailable' | 'unwritten' | 'broken'

/** Rows of a shadow's share: each is counted once. Must not throw. */
export interface ShadowObserver {
  dropped(version: ServedVersion, reason: DropReason, rows: number): void
  ended(version: ServedVersion, end: ShadowEnd, rows: number): void
}

export function createShadowInstruments(metrics: Metrics): ShadowObserver {
  const dropped = metrics.counter('millrace_shadow_dropped_total', 'Rows that a shadow was not shown, by why', [
    'model',
    'version',
    'reason',
  ])
  const rows = metrics.counter('millrace_shadow_rows_total', 'Rows that a shadow was shown, by what became of them', [
    'model',
    'version',
    'end',
  ])
  return {
    dropped({ manifest }, reason, count) {
      if (count > 0) dropped.add(count, { model: manifest.name, version: manifest.version, reason })
    },
    ended({ manifest }, end, count) {
      if (count > 0) rows.add(count, { model: manifest.name, version: manifest.version, end })
    },
  }
}

/** Counts each row of what is in work once. */
export interface Account {
  /** Rows that have not ended. */
  readonly open: number
  ended(end: ShadowEnd, rows: number): void
  /** All that are open. */
  dropped(reason: DropReason): void
}

export function accountOf({ version, length }: ShadowRows, observer: ShadowObserver): Account {
  let open = length
  return {
    get open() {
      return open
    },
    ended(end, rows) {
      open -= rows
      observer.ended(version, end, rows)
    },
    dropped(reason) {
      observer.dropped(version, reason, open)
      open = 0
    },
  }
}
