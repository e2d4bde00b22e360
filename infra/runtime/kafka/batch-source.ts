import type { RecordBatch } from './record-batch.ts'

/** How much to take at once, and how long to wait for more. */
export interface TakeLimits {
  readonly maxRows: number
  /** Keys and values; a single larger record is handed out alone. */
  readonly maxBytes: number
  /** Hand out fewer than `maxRows` only once the oldest record has waited this long; 0 = at once. */
  readonly lingerMs: number
}

/** A member of a consumer group, reading one topic. One caller; no call may overlap another of the same kind. */
export interface BatchSource {
  /** Waits for records; resolves with at most one batch per partition, or with an empty list once the intake has ended. */
  take(limits: TakeLimits): Promise<readonly RecordBatch[]>
  /**
   * The first `count` records of a batch from `take` have ended: their offsets may be committed. The others return to the
   * front of their lane, which hands them out again after `holdMs`. A batch of a partition that was lost meanwhile is ignored. Each batch is settled exactly once.
   */
  settle(batch: RecordBatch, count: number, holdMs: number): void
  /** First step of a shutdown: from now on `take` resolves with nothing, and what is out can still be settled. */
  endIntake(): void
  /** Keys and values that were fetched and not taken yet, bytes. Bounded: a full partition is paused. */
  queuedBytes(): number
  /** False once the batch's partition has been taken away: its outputs should not be written any more. */
  owns(batch: RecordBatch): boolean
}
