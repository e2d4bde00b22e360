import type { RowFailure, RunResult } from '../execution/run-rows.ts'
import type { ScoredPart, ScoredRows, Work } from './micro-batcher.ts'

const NONE: ReadonlyMap<number, RowFailure> = new Map()

/** Rows of one work that are in one run: `at` is their first row there. */
export interface Segment {
  readonly pending: PendingWork
  readonly from: number
  readonly to: number
  readonly at: number
}

/** Of the segments of a run, one behind the other. */
export function rowsOf(segments: readonly Segment[]): number {
  const last = segments.at(-1)
  return last === undefined ? 0 : last.at + (last.to - last.from)
}

/**
 * A work from its arrival to its answer. Its promise settles once, and not before the last run has settled that may still
 * read its rows.
 */
export class PendingWork {
  readonly work: Work
  readonly count: number
  /** When it began to wait for a run, monotonic ms. */
  readonly since: number
  /** Rows that runs have been given; those behind them are queued. */
  taken = 0
  /** The work behind it in its lane. */
  next: PendingWork | null = null
  readonly #outputWidth: number
  readonly #resolve: (rows: ScoredRows) => void
  readonly #reject: (error: unknown) => void
  readonly #parts: ScoredPart[] = []
  #outputs: Float32Array | null = null
  #failures: Map<number, RowFailure> | null = null
  #answered = 0
  #running = 0
  #failed: { readonly error: unknown } | null = null

  constructor(
    work: Work,
    options: { readonly count: number; readonly since: number; readonly outputWidth: number },
    settle: { readonly resolve: (rows: ScoredRows) => void; readonly reject: (error: unknown) => void },
  ) {
    this.work = work
    this.count = options.count
    this.since = options.since
    this.#outputWidth = options.outputWidth
    this.#resolve = settle.resolve
    this.#reject = settle.reject
  }

  /** Rows that no run has been given. */
  get queued(): number {
    return this.count - this.taken
  }

  began(): void {
    this.#running++
  }

  /** The run of a segment was answered. */
  answer({ from, to, at }: Segment, result: RunResult, run: Pick<ScoredPart, 'scoredAt' | 'rowMs'>): void {
    this.#running--
    const rows = to - from
    const whole = rows === result.batchRows.length
    const batchRows = whole ? result.batchRows : result.batchRows.subarray(at, at + rows)
    this.#parts.push({ from, to, batchRows, provider: result.provider, ...run })
    const width = this.#outputWidth
    const outputs = whole ? result.outputs : result.outputs.subarray(at * width, (at + rows) * width)
    if (rows === this.count) this.#outputs = outputs
    else {
      this.#outputs ??= new Float32Array(this.count * width)
      this.#outputs.set(outputs, from * width)
    }
    for (const [row, failure] of result.failures) {
      if (row < at || row >= at + rows) continue
      this.#failures ??= new Map()
      this.#failures.set(row - at + from, failure)
    }
    this.#answered += rows
    this.#settle()
  }

  /** The run of a segment was refused: nothing of the work will be answered. */
  fail(error: unknown): void {
    this.#running--
    this.taken = this.count
    this.#failed ??= { error }
    this.#settle()
  }

  #settle(): void {
    if (this.#running > 0) return
    if (this.#failed !== null) this.#reject(this.#failed.error)
    else if (this.#answered === this.count) {
      // runs may end in another order than they began
      const parts = this.#parts.sort((one, other) => one.from - other.from)
      this.#resolve({ outputs: this.#outputs ?? new Float32Array(0), failures: this.#failures ?? NONE, parts })
    }
  }
}
