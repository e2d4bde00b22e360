import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { LightFindings } from './light-audit.ts'

/** What the continuous audit counts and says. Each process of sinks audits all lanes: take the maximum, not the sum. */
export function auditInstruments(metrics: Metrics, logger: Logger) {
  const events = metrics.counter('millrace_audit_events_total', 'Events that ended exactly once, as stored', ['end'])
  const unaccounted = metrics.counter('millrace_audit_unaccounted_total', 'Events without an end in ClickHouse', [])
  const duplicates = metrics.counter('millrace_audit_duplicates_total', 'Ends in ClickHouse beyond one per event', [])
  const lag = metrics.gauge('millrace_audit_lag_records', 'Events that are not audited yet', [])
  const failures = metrics.counter('millrace_audit_failures_total', 'Checks that could not be made', ['code'])
  return {
    checked(found: LightFindings): void {
      events.add(found.predicted, { end: 'predicted' })
      events.add(found.deadLettered, { end: 'dead_lettered' })
      lag.set(found.lag, {})
      for (const fault of found.faults) {
        unaccounted.add(fault.unaccounted, {})
        duplicates.add(fault.duplicates, {})
        logger.error(fault, 'the account of events does not add up: run millrace audit')
      }
    },
    failed(error: { readonly code: string; readonly message: string }): void {
      failures.add(1, { code: error.code })
      logger.warn(error, 'the audit could not look')
    },
  }
}
