import type { HopObserver } from '../../../infra/runtime/kafka/hop/hop-observer.ts'

/** What is told of a sink, at most once per chunk; must not throw. */
export interface SealedSinkObserver extends HopObserver {
  landed(chunk: LandedChunk): void
}

export interface LandedChunk {
  readonly table: string
  readonly rows: number
  /** Rows that ClickHouse refused. */
  readonly refused: number
  /** Rows beyond the first with the same coordinates, where the chunk was read back. */
  readonly copies: number
  /** From the append of an event to the append of its prediction; empty for other tables. */
  readonly latenciesMs: readonly number[]
  /** Commit, insert and dead letters. */
  readonly busyMs: number
}
