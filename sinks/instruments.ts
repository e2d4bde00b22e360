import type { Logger } from '../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../infra/runtime/telemetry/metrics.ts'
import type { TableSinkObserver } from './clickhouse/table-sink.ts'
import type { TableWriterDeps } from './online/table-writer.ts'

const INSERT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const LATENCY_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600]

/** What the sinks count and log beyond what every hop counts. */
export function createInstruments(metrics: Metrics, logger: Logger): TableSinkObserver & TableWriterDeps['observer'] {
  const rows = metrics.counter('millrace_sink_rows_total', 'Rows stored', ['store', 'table'])
  const seconds = metrics.histogram('millrace_sink_insert_seconds', 'Time to insert', ['table'], INSERT_SECONDS)
  const latency = metrics.histogram(
    'millrace_event_to_prediction_seconds',
    'From the append of an event to the append of its prediction',
    [],
    LATENCY_SECONDS,
  )
  return {
    stored(insert) {
      rows.add(insert.rows.length, { store: 'clickhouse', table: insert.table })
      seconds.observe(insert.seconds, { table: insert.table })
      for (const { written_at: written, ingested_at: ingested } of insert.rows) {
        if (typeof written === 'number' && typeof ingested === 'number')
          latency.observe((written - ingested) / 1_000, {})
      }
      if (insert.refused === 0) return
      logger.warn({ table: insert.table, rows: insert.refused }, 'ClickHouse refused rows; see the dead letters')
    },
    wroteTable(table, count) {
      rows.add(count, { store: 'redis', table })
    },
  }
}
