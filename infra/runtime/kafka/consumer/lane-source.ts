import type { ColumnBatch } from './column-batch.ts'
import type { TakeLimits } from './take-limits.ts'

/** Metadata of a position that somebody set, knowing what the logs hold. */
export const SET_BY_HAND = 'set by hand'

/** What the group last committed for a partition. */
export interface Committed {
  /** The next record to work on. */
  readonly offset: number
  /** As it was committed; empty = none, `SET_BY_HAND` = an operator chose the position. At most 4,096 bytes (the broker's `offset.metadata.max.bytes`). */
  readonly metadata: string
}

/**
 * The life of one assigned partition, as its owner lives it:
 *
 *   opening   `open` is asked where to begin, after the coordinator has confirmed the membership
 *   flowing   batches are handed out, several at a time, and settled in order
 *   draining  a rebalance moves it: nothing more is handed out; once all that is out is settled and committed, it is closed
 *   closed    drained, or lost: the group has given it to somebody else, and nothing of it is committed any more
 */
export interface LaneHooks {
  /**
   * Where to begin. Called again with back-off while it rejects with `retry`; anything else ends the source. `signal` aborts when
   * the partition goes away meanwhile. In a new group the source's `start` has been committed first, without metadata.
   */
  open(partition: number, committed: Committed, signal: AbortSignal): Promise<number>
  /**
   * For the commit of `offset` that the source is about to make; asked again for each attempt. Null = not now: who owns the partition
   * commits by `commit` what says more, and the source leaves that as it is (also while draining: then it counts as committed).
   */
  metadata?(partition: number, offset: number): string | null
  /** The partition begins to drain: whoever holds records back for more to come should finish them now. */
  draining?(partition: number): void
  /** Called once for each `open` that was called; the lane is neither fetched nor committed any more. */
  close?(partition: number, how: 'drained' | 'lost'): Promise<void>
}

/**
 * A member of a consumer group, reading one topic. What a rebalance does not move flows on: its position, its queue and
 * what is out stay as they are. One caller; `take` calls may not overlap.
 */
export interface LaneSource {
  /** Id (UUID) of the topic that all offsets belong to; the source ends with `topic_recreated` (crash) when it changes. */
  readonly generation: string
  /**
   * Waits for records; resolves with at most one batch per partition, or with an empty list once the intake has ended.
   * Work-conserving: does not wait for more than there is, unless `lingerMs` says so. Up to `maxBatchesOut` batches of a partition are out at once.
   * Rejects with what ended the source.
   */
  take(limits: TakeLimits): Promise<readonly ColumnBatch[]>
  /** All records of the batch have ended; batches of a partition are settled in the order in which they were taken. Ignored for a stale one. */
  settle(batch: ColumnBatch): void
  /**
   * The partition is handed out again from `offset`, which no settled batch lies above, after `holdMs`; what is out of it becomes stale. Fetches again only
   * what is not in memory any more. Ignored when the partition is not flowing or draining.
   */
  rewind(partition: number, offset: number, holdMs: number): void
  /**
   * Fetched up to `offset` whatever it takes, instead of until the partition is full: for who settles nothing before it has all records
   * below. May be called from `open` on.
   */
  reach(partition: number, offset: number): void
  /** False for a stale batch: its partition was lost, closed or rewound. Its outputs must not be written any more. */
  owns(batch: ColumnBatch): boolean
  /**
   * Commits at once and waits for the answer, which the group's generation fences. True when it was taken; false when the
   * partition is not ours any more. Retries by itself while the coordinator is away. Commits of a partition are made one after the
   * other: none of the source's own, made earlier, can take effect after this one.
   */
  commit(partition: number, offset: number, metadata: string): Promise<boolean>
  /**
   * Asks the coordinator whether we are still a member. True when it answered so after the call was made; false when the partition was
   * lost meanwhile. Waits while the coordinator is away.
   */
  confirm(partition: number): Promise<boolean>
  /** False when the last good heartbeat is older than the session: then nothing may be sent. Checked before each write. */
  trusted(): boolean
  /** First step of a shutdown: from now on `take` resolves with nothing, and what is out can still be settled. */
  endIntake(): void
  /** Memory of what was fetched and is not settled yet, bytes: records and their columns. Bounded: a full partition is not fetched, unless it has to `reach` further. */
  heldBytes(): number
  /** Of each partition that flows or drains, and was fetched from: below `settled` everything has ended; `end` is the log's end as last seen (high watermark). */
  positions(): ReadonlyMap<number, { readonly settled: number; readonly end: number }>
  /** Null while every partition with records to work on moves; else the partition and since when it has not. For liveness. */
  stuckSince(): { readonly partition: number; readonly forMs: number } | null
}

/** Stops single partitions by hand, e.g. by an operator. */
export interface PartitionPauses {
  /**
   * Neither fetched nor handed out until `resume`; what is out may be settled. Holds for as long as this process lives, also when
   * the partition goes away and comes back; another process that gets it does not know of it.
   */
  pause(partition: number): void
  resume(partition: number): void
  /** Partitions that were paused, whether they are ours or not. */
  paused(): ReadonlySet<number>
}
