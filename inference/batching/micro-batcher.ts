import type { Provider, RowFailure } from '../execution/run-rows.ts'

/** Rows of one lane for one model version. */
export interface Work {
  /**
   * Of a batch that cannot hold everything lanes get even shares. Where rows of one work are so many that copying them together
   * with others would cost more than it saves, lanes take turns: the one that has waited longest is next while all can be
   * answered in time, else the one that has had least. Of several pipelines, each lane for itself.
   */
  readonly lane: string
  /** [count, width] float32, row by row; the batcher's until the promise settles. */
  readonly rows: Float32Array
  /** When the oldest of them was taken from its log, monotonic ms. */
  readonly arrivedAt: number
  /** When its answer is wanted, monotonic ms; Infinity = whenever. Only how long a batch may linger depends on it. */
  readonly deadline: number
}

/** What became of the rows of a work, which may have been in several micro-batches. */
export interface ScoredRows {
  /** [count, manifest.output.width], row by row; whatever it is for a row in `failures`. */
  readonly outputs: Float32Array
  readonly failures: ReadonlyMap<number, RowFailure>
  /** Runs of rows that were answered together, in order; they cover all rows. */
  readonly parts: readonly ScoredPart[]
}

export interface ScoredPart {
  readonly from: number
  readonly to: number
  /** Of each row, counted from `from`: the rows of the run that answered it. */
  readonly batchRows: Int32Array
  readonly provider: Provider
  /** When the model had answered, epoch ms. */
  readonly scoredAt: number
  /** What the run took for each of its rows, ms. */
  readonly rowMs: number
}

/**
 * Why a batch was released: `full` = the cap was reached, or a lane's turn was over; `drained` = nothing more was queued, `deadline` = a row could not
 * wait any longer, `linger` = the time to wait for more was over.
 */
export type ReleaseReason = 'full' | 'drained' | 'deadline' | 'linger'

/** What a micro-batch says of itself. */
export interface MicroBatch {
  readonly reason: ReleaseReason
  readonly rows: number
  /** Most rows that it could have had. */
  readonly cap: number
  /** How long its oldest row had waited since its work arrived, ms. */
  readonly waitedMs: number
  /** How long the model took, ms. */
  readonly runMs: number
}

/**
 * Work-conserving batching for one model version: whenever a run may begin, everything queued up to the cap is run. Rows
 * of a lane keep their order.
 */
export interface MicroBatcher {
  /**
   * Resolves when every row has its outputs or a failure. Rejects with what `RunRows` rejects with, as soon as no run reads its
   * rows any more; works that had no row in that run go on.
   */
  submit(work: Work): Promise<ScoredRows>
  /** Rows queued and running. */
  readonly pending: number
}
