import type { Metrics } from '../infra/runtime/telemetry/metrics.ts'
import type { ScoreObserver } from './score-columns.ts'

const BATCH_ROWS = [1, 4, 16, 64, 256, 512, 1_024, 2_048, 4_096, 16_384]
const RUN_SECONDS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2]

/** What inference counts beyond what every hop counts. */
export function createInstruments(metrics: Metrics): ScoreObserver {
  const labels = ['model', 'version'] as const
  const scored = metrics.counter('millrace_scored_rows_total', 'Rows that a model was run on', labels)
  const batchRows = metrics.histogram('millrace_batch_rows', 'Rows of a micro-batch', labels, BATCH_ROWS)
  const runSeconds = metrics.histogram('millrace_run_seconds', 'Time to run a micro-batch', labels, RUN_SECONDS)
  return {
    ran({ manifest }, rows, seconds) {
      const model = { model: manifest.name, version: manifest.version }
      scored.add(rows, model)
      batchRows.observe(rows, model)
      runSeconds.observe(seconds, model)
    },
  }
}
