/** How a pipeline is watched. Durations in ms. */
export interface CompiledMonitor {
  /** Width of a pane: the finest time that counts are kept for; divides an hour, or is whole hours that divide a day, or whole days. */
  readonly paneMs: number
  /** Width of the windows that are scored one after the other; a multiple of the pane. */
  readonly windowMs: number
  /** A window with fewer predictions is `insufficient_data`. */
  readonly minRows: number
  /** A rule fires after so many windows in a row, and is resolved after as many without. */
  readonly consecutive: number
  /** From this score on a prediction is positive. */
  readonly threshold: number
  readonly rules: readonly CompiledAlertRule[]
}

export interface CompiledAlertRule {
  readonly name: string
  readonly severity: 'info' | 'warning' | 'critical'
  readonly on: /** Null = any feature and the score; every segment. `metric` as in `drift_scores`; `above` null = the threshold of the score row. */
    | {
        readonly kind: 'drift'
        readonly feature: string | null
        readonly metric: string | null
        readonly above: number | null
      }
    /** `metric` as in `quality_scores`. */
    | {
        readonly kind: 'quality'
        readonly metric: string
        readonly below: number | null
        readonly above: number | null
      }
  /** Null = never. What is written while the time of day (UTC, minutes) is between the two is sent at the end, if it still stands. */
  readonly silence: { readonly fromMinute: number; readonly toMinute: number } | null
}

export const DEFAULT_MONITOR: CompiledMonitor = {
  paneMs: 300_000,
  windowMs: 3_600_000,
  minRows: 500,
  consecutive: 2,
  threshold: 0.5,
  rules: [
    {
      name: 'drift',
      severity: 'warning',
      on: { kind: 'drift', feature: null, metric: null, above: null },
      silence: null,
    },
  ],
}
