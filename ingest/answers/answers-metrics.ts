import type { Metrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { Answer } from './answers.ts'

/** Must not throw. */
export interface AnswersObserver {
  /** Where the answer to a request that does not wait was found. */
  asked(found: 'redis' | 'clickhouse' | 'none'): void
  waited(state: Answer['state'], ms: number): void
}

const WAIT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

export function createAnswersMetrics(metrics: Metrics): AnswersObserver {
  const asked = metrics.counter('millrace_answers_asked_total', 'Requests for an answer, by where it was', ['found'])
  const waited = metrics.histogram(
    'millrace_answers_wait_seconds',
    'Time that requests waited for an answer',
    ['state'],
    WAIT_SECONDS,
  )
  return {
    asked: (found) => asked.add(1, { found }),
    waited: (state, ms) => waited.observe(ms / 1_000, { state }),
  }
}
