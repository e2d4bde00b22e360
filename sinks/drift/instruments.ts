import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { PaneFault } from './panes/reconcile.ts'

const ROUND_SECONDS = [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60]

/** What the watch over a pipeline counts and says. */
export function driftInstruments(metrics: Metrics, logger: Logger) {
  const active = metrics.gauge('millrace_drift_active', '1 in the process that watches the pipeline', [])
  const seconds = metrics.histogram('millrace_drift_round_seconds', 'Time of a round', ['part'], ROUND_SECONDS)
  const failures = metrics.counter('millrace_drift_failures_total', 'Rounds that failed', ['part', 'code'])
  const panes = metrics.counter('millrace_drift_panes_total', 'Panes that were computed', [])
  const windows = metrics.counter('millrace_drift_windows_total', 'Windows that were scored', [])
  const lag = metrics.gauge('millrace_drift_lag_records', 'Stored predictions that panes do not have yet', [])
  const faults = metrics.counter('millrace_drift_pane_faults_total', 'Panes that differ from their predictions', [])
  const failing = new Map<string, string>()
  return {
    active(is: boolean): void {
      active.set(is ? 1 : 0, {})
    },
    round(part: string, ms: number): void {
      seconds.observe(ms / 1_000, { part })
      if (failing.delete(part)) logger.info({ part }, 'the watch goes on')
    },
    failed(part: string, error: { readonly code: string; readonly message: string }): void {
      failures.add(1, { part, code: error.code })
      if (failing.get(part) !== error.code) logger.warn({ part, ...error }, 'the watch could not do its round')
      failing.set(part, error.code)
    },
    computed(count: number, behind: number): void {
      panes.add(count, {})
      lag.set(behind, {})
    },
    scored(count: number): void {
      windows.add(count, {})
    },
    differ(found: readonly PaneFault[]): void {
      faults.add(found.length, {})
      for (const fault of found) logger.error(fault, 'a pane differs from its predictions: it is computed anew')
    },
    otherFeatures(fields: { readonly profile: string; readonly featureSet: string }): void {
      logger.warn(
        fields,
        'the accepted profile is of other features than the pipeline has: propose and accept a new one',
      )
    },
  }
}

export type DriftInstruments = ReturnType<typeof driftInstruments>
