import type { Metrics } from '../infra/runtime/telemetry/metrics.ts'
import type { ModelFacts } from '../infra/runtime/telemetry/stage-report.ts'
import type { ExecutorsObserver } from './execution/executors.ts'
import type { VersionCacheObserver } from './models/create-version-cache.ts'
import type { ServeObserver } from './models/served-as.ts'
import type { ScoreObserver } from './score-columns.ts'

const BATCH_ROWS = [1, 4, 16, 64, 256, 512, 1_024, 2_048, 4_096, 16_384]
const RUN_SECONDS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2]
const LOAD_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30]
const FILL = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1]

/** What inference counts beyond what every hop counts. */
export interface Instruments extends ScoreObserver, ServeObserver, VersionCacheObserver, ExecutorsObserver {
  /** What was released since the last call, for the stage's reports: to answer, and not what a shadow was shown. */
  takeFacts(): Omit<ModelFacts, 'ready_epoch'>
  /** The epoch that the log asks for, and the highest one that is loaded here: for long apart, a version cannot be loaded. */
  epochs(asked: number, loaded: number): void
}

const noFacts = () => ({
  released_full: 0,
  released_drained: 0,
  released_deadline: 0,
  released_linger: 0,
  longest_wait_ms: 0,
  mean_fill: 0,
})

export function createInstruments(metrics: Metrics): Instruments {
  const version = ['model', 'version'] as const
  /** What the version is loaded for: as a shadow it has its own batches. */
  const loadedFor = [...version, 'purpose'] as const
  const answered = metrics.counter('millrace_answers_total', 'Rows that a version had to answer, by how', [
    ...version,
    'role',
    'answer',
  ])
  const batches = metrics.counter('millrace_micro_batches_total', 'Micro-batches, by why they were released', [
    ...loadedFor,
    'reason',
  ])
  const batchRows = metrics.histogram('millrace_batch_rows', 'Rows of a micro-batch', loadedFor, BATCH_ROWS)
  const fill = metrics.histogram('millrace_batch_fill_ratio', 'Rows of those that it could have had', loadedFor, FILL)
  const waited = metrics.histogram('millrace_batch_wait_seconds', 'Wait of its oldest row', loadedFor, RUN_SECONDS)
  const runSeconds = metrics.histogram('millrace_run_seconds', 'Time to run a micro-batch', loadedFor, RUN_SECONDS)
  const cached = metrics.counter(
    'millrace_cache_rows_total',
    'Rows that were looked for among known answers, by result',
    [...loadedFor, 'result'],
  )
  const loads = metrics.histogram('millrace_model_load_seconds', 'Time to load a version', version, LOAD_SECONDS)
  const evictions = metrics.counter('millrace_model_evictions_total', 'Versions that had to make room', version)
  const restarts = metrics.counter(
    'millrace_executor_restarts_total',
    'Times that a child that runs models had to be started anew, by what ended it; in quarantine versions are together',
    ['executor', 'purpose', 'provider', 'version', 'cause'],
  )
  const loaded = metrics.gauge('millrace_models_loaded', 'Versions that are loaded', [])
  const memory = metrics.gauge('millrace_models_bytes', 'Memory that they take', [])
  const epoch = metrics.gauge('millrace_rollout_epoch', 'Epoch that the log asks for, and that is loaded', ['state'])
  let facts = noFacts()
  let rows = 0
  let room = 0

  return {
    released({ name, version: of }, batch, purpose) {
      const labels = { model: name, version: of, purpose }
      batches.add(1, { ...labels, reason: batch.reason })
      batchRows.observe(batch.rows, labels)
      fill.observe(batch.rows / batch.cap, labels)
      waited.observe(batch.waitedMs / 1_000, labels)
      runSeconds.observe(batch.runMs / 1_000, labels)
      if (purpose === 'shadow') return
      facts[`released_${batch.reason}`] += 1
      facts.longest_wait_ms = Math.max(facts.longest_wait_ms, batch.waitedMs)
      rows += batch.rows
      room += batch.cap
    },
    answered({ manifest }, role, answers) {
      const labels = { model: manifest.name, version: manifest.version, role }
      const { rows, scored, late, fallbacks, unasked, failed } = answers
      // one that the fallback was given for is no dead letter
      const invalid = rows - scored - late - fallbacks - failed
      const counts = { scored, late, fallback: fallbacks + unasked, failed, invalid }
      for (const [answer, count] of Object.entries(counts)) if (count > 0) answered.add(count, { ...labels, answer })
    },
    looked({ name, version: of }, asked, hits, repeats, purpose) {
      const counts = { hit: hits, repeat: repeats, miss: asked - hits - repeats }
      for (const [result, count] of Object.entries(counts)) {
        if (count > 0) cached.add(count, { model: name, version: of, purpose, result })
      }
    },
    resident(versions, bytes) {
      loaded.set(versions, {})
      memory.set(bytes, {})
    },
    loaded({ manifest }, seconds) {
      loads.observe(seconds, { model: manifest.name, version: manifest.version })
    },
    evicted({ manifest }) {
      evictions.add(1, { model: manifest.name, version: manifest.version })
    },
    restarted({ purpose, provider, version: of }, cause) {
      const executor = of === null ? 'quarantine' : 'process'
      restarts.add(1, { executor, purpose, provider, version: of ?? '', cause })
    },
    takeFacts() {
      const taken = { ...facts, mean_fill: room === 0 ? 0 : rows / room }
      facts = noFacts()
      rows = 0
      room = 0
      return taken
    },
    epochs(asked, ready) {
      epoch.set(asked, { state: 'asked' })
      epoch.set(ready, { state: 'loaded' })
    },
  }
}
