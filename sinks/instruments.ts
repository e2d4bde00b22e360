import type { Logger } from '../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../infra/runtime/telemetry/metrics.ts'
import type { SealedSinkObserver } from './clickhouse/sealed/sealed-observer.ts'
import type { TableWriterDeps } from './online/table-writer.ts'
import type { ResultsObserver } from './results/results-loop.ts'

const INSERT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const LATENCY_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600]

/** What the sinks count and log beyond what every hop counts. */
export function createInstruments(
  metrics: Metrics,
  logger: Logger,
): Pick<SealedSinkObserver, 'landed'> & TableWriterDeps['observer'] {
  const rows = metrics.counter('millrace_sink_rows_total', 'Rows stored', ['store', 'table'])
  const seconds = metrics.histogram(
    'millrace_sink_insert_seconds',
    'Time to announce and insert a chunk',
    ['table'],
    INSERT_SECONDS,
  )
  const duplicates = metrics.counter('millrace_sink_duplicates_total', 'Rows that were found more than once', ['table'])
  const latency = metrics.histogram(
    'millrace_event_to_prediction_seconds',
    'From the append of an event to the append of its prediction',
    [],
    LATENCY_SECONDS,
  )
  return {
    landed({ table, rows: stored, refused, copies, latenciesMs, busyMs }) {
      rows.add(stored, { store: 'clickhouse', table })
      seconds.observe(busyMs / 1_000, { table })
      if (table === 'predictions') for (const latencyMs of latenciesMs) latency.observe(latencyMs / 1_000, {})
      if (refused > 0) logger.warn({ table, rows: refused }, 'ClickHouse refused rows; see the dead letters')
      if (copies === 0) return
      duplicates.add(copies, { table })
      logger.warn({ table, rows: copies }, 'rows were found more than once; FINAL shows each once')
    },
    wroteTable(table, count) {
      rows.add(count, { store: 'redis', table })
    },
  }
}

/** What becomes of answers on their way to gateways: a line when they begin to wait for Redis, and when they go on. */
export function resultsInstruments(metrics: Metrics, logger: Logger): (input: string) => ResultsObserver {
  const answers = metrics.counter('millrace_results_answers_total', 'Answers written to Redis', ['input'])
  const passed = metrics.counter('millrace_results_passed_total', 'Records that are no answer, or an old one', [
    'input',
  ])
  const notified = metrics.counter('millrace_results_notified_total', 'Waiting requests that were told', ['input'])
  const retries = metrics.counter('millrace_results_retries_total', 'Rounds tried again', ['input', 'code'])
  return (input) => {
    let waitsFor: string | null = null
    return {
      stored(round) {
        if (waitsFor !== null) logger.info({ input }, 'answers go to Redis again')
        waitsFor = null
        answers.add(round.answers, { input })
        passed.add(round.passed, { input })
        notified.add(round.notified, { input })
      },
      retrying({ code, message, attempt }) {
        retries.add(1, { input, code })
        if (waitsFor !== code) logger.warn({ input, code, message, attempt }, 'answers wait')
        waitsFor = code
      },
    }
  }
}
