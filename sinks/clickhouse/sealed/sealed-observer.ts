import type { SettledRound } from '../../../infra/runtime/kafka/hop/lane-hop.ts'

/** What is told of a sink, at most once per chunk; must not throw. */
export interface SealedSinkObserver {
  /** Of each chunk, whether it has rows or not. */
  settled(round: SettledRound): void
  landed(chunk: LandedChunk): void
  /** Looked at again after `waitMs`. */
  retrying(round: {
    readonly code: string
    readonly message: string
    readonly attempt: number
    readonly waitMs: number
  }): void
  /** The records of a partition from `offset` on wait. */
  deferred(lane: LaneNews): void
  /** The record at `offset` can neither be stored nor given up: the partition stands still until somebody decides. */
  stopped(lane: LaneNews): void
}

export interface LaneNews {
  readonly partition: number
  readonly offset: number
  readonly code: string
  readonly message: string
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
