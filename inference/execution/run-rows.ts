/** Where a model runs. */
export type Provider = 'cpu' | 'cuda'

/** Why a row has no outputs, though its model was run on it. */
export interface RowFailure {
  readonly reason: 'model_error' | 'model_crash' | 'model_timeout'
  /** What the runtime or the executor said. */
  readonly message: string
}

/** What became of the rows of one run. */
export interface RunResult {
  /** [rows, manifest.output.width], row by row; whatever it is for a row in `failures`. */
  readonly outputs: Float32Array
  /** Of each row: the rows of the run that answered it. */
  readonly batchRows: Int32Array
  /** By row. */
  readonly failures: ReadonlyMap<number, RowFailure>
  readonly provider: Provider
  /**
   * What the model took for them, without what it waited for the thread that it blocks, ms; where that is known. Then others had
   * the thread before it, if it blocks one.
   */
  readonly runMs?: number | undefined
  /** No row is to blame: there was not the memory for so many at once, and smaller runs have answered them. */
  readonly tooMany?: boolean
}

/**
 * Rows [count, manifest.input.features.length] float32, row by row, to outputs; a row's outputs do not depend on the rows
 * beside it. `rows` belong to the callee until the promise settles. Rejects with `retry` while there is nothing to run them
 * on, and with `crash` when the model fails whatever it is given: then no row is to blame.
 *
 * Everything between a micro-batch and the runtime has this shape, so that it can be put together: cache, choice of
 * provider, isolation of bad rows, executor.
 */
export type RunRows = (rows: Float32Array) => Promise<RunResult>
