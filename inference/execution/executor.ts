import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { Provider } from './run-rows.ts'

/**
 * A host for sessions: in this process (`inline`), or in a child process that may be killed (`process`). `run` of ONNX Runtime
 * blocks its thread and cannot be cancelled, so what may hang or crash runs in a child.
 */
export interface Executor {
  readonly kind: 'inline' | 'process'
  readonly provider: Provider
  /** Runs that may be under way at once: the next one is handed over while the last one runs. 1 for `inline`. */
  readonly depth: number
  /**
   * Loads a verified version beside those that it has, runs its golden rows, and warms it. Rejects with `invalid_model`
   * (crash) when it is refused, `model_unavailable` (retry) when the host could not be had.
   */
  prepare(manifest: ModelManifest): Promise<PreparedModel>
  stats(): ExecutorStats
  /** Ends what is under way in order, kills what does not end. */
  close(): Promise<void>
}

export interface ModelRun {
  /** [count, manifest.output.width], row by row. */
  readonly outputs: Float32Array
  /** What it took, without what it waited for a thread or for the runs before it, and a child's hand-over at its quickest, ms. */
  readonly tookMs: number
}

export interface PreparedModel {
  readonly manifest: ModelManifest
  /**
   * Rows [count, features] float32 → their outputs. `rows` belong to the callee until the promise
   * settles. Rejects with ModelRunError; with `model_failed` (crash) when a new child cannot load it, and with
   * `model_unavailable` (retry) when there can be no child. After a crash the executor starts anew by itself and the next
   * run is answered.
   */
  run(rows: Float32Array): Promise<ModelRun>
  /** Frees it. No run may be under way; once. */
  retire(): Promise<void>
}

/** `killed` = by someone else; `recycled` = it had grown and had nothing to do; the others as the runs that they ended. */
export type RestartCause = 'crash' | 'timeout' | 'memory' | 'killed' | 'recycled'

export interface ExecutorStats {
  readonly models: number
  /** Runs that have been answered, or have failed. */
  readonly runs: number
  /** Times that a child had to be started anew, by what ended it. */
  readonly restarts: Readonly<Record<RestartCause, number>>
  /** Resident memory of the child, bytes; null for `inline`. */
  readonly residentBytes: number | null
}

/**
 * Why a run failed: `rows` = the runtime refused what it was given, `allocation` = it wanted more memory than there is,
 * `crash` = the child died, `timeout` = it did not answer in time and was killed, `memory` = it grew above its limit and
 * was killed, or the system killed it at this run again and again.
 */
export type RunFault = 'rows' | 'allocation' | 'crash' | 'timeout' | 'memory'

export class ModelRunError extends Error {
  override readonly name = 'ModelRunError'
  readonly fault: RunFault

  constructor(fault: RunFault, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.fault = fault
  }
}
