import type { Logger } from '../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../infra/runtime/telemetry/metrics.ts'
import type { LookupObserver } from './lookups/redis-tables.ts'
import type { ProcessObserver } from './vectors-of-batches.ts'

/** What the processors count and log beyond what every hop counts. */
export function createInstruments(metrics: Metrics, logger: Logger): ProcessObserver & LookupObserver {
  const vectors = metrics.counter('millrace_feature_vectors_total', 'Feature vectors computed', ['degraded'])
  const stepErrors = metrics.counter('millrace_step_errors_total', "Events on which the pipeline's own code threw", [])
  const rows = metrics.counter('millrace_lookup_rows_total', 'Distinct rows looked up', ['table', 'result'])
  const unavailable = metrics.gauge('millrace_table_unavailable', '1 while lookups cannot read the table', ['table'])
  const states = new Map<string, string>()

  return {
    processed(counts) {
      vectors.add(counts.vectors - counts.degraded, { degraded: 'false' })
      vectors.add(counts.degraded, { degraded: 'true' })
      if (counts.stepErrors === 0) return
      stepErrors.add(counts.stepErrors, {})
      logger.warn({ events: counts.stepErrors }, "the pipeline's own code threw; see the dead letters")
    },
    looked(table, counts) {
      for (const [result, count] of Object.entries(counts)) rows.add(count, { table, result })
    },
    availability(table, now, cause) {
      unavailable.set(now === 'available' ? 0 : 1, { table })
      const before = states.get(table) ?? 'available'
      states.set(table, now)
      if (before === now) return
      const fields = { table, code: cause?.code, error: cause?.message }
      if (now === 'available') logger.info({ table }, 'table is available again')
      else if (now === 'waiting') logger.warn(fields, 'table is unavailable, lookups wait')
      else logger.warn(fields, 'table is unavailable, lookups go on without it')
    },
  }
}
