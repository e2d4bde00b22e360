import type { Committed } from '../consumer/lane-source.ts'
import type { RecordColumns } from '../record-batches/columns.ts'

/** What makes a lane: the input partition, and the same partition number of everything that is written from it. */
export interface LaneTopics {
  readonly partition: number
  readonly input: { readonly topic: string; readonly generation: string }
  /** Null = a stage that stores elsewhere and writes dead letters alone. */
  readonly output: string | null
  readonly deadLetters: string
  /**
   * Topics that this lane does without (fused: the features topic): who reads them may end records of this lane as dead letters,
   * and is fenced, too; and what this lane commits has ended for whoever would write them.
   */
  readonly alsoFence?: readonly string[]
}

/** Where a record stands in the account, as its writer noted it in the record itself. */
export interface Coordinates {
  readonly sourceGeneration: string
  readonly sourceOffset: number
  readonly originGeneration: string
  readonly originOffset: number
}

/** What the log itself says of the progress, read after every earlier writer was fenced. */
export interface LaneTail {
  /** Where to go on reading the input. */
  readonly resumeAt: number
  /**
   * Whether a record at or above `resumeAt` has ended already: as an output, or as a dead letter of this stage and
   * input. Origin coordinates where the record has them, else null.
   */
  ended(sourceOffset: number, origin: { readonly generation: string; readonly offset: number } | null): boolean
  /**
   * Null: no record from `resumeAt` on can have ended. Else `ended` need not be asked for a record at or above `source`, if its
   * origin is of another generation, or at or above `origin`, or not known.
   */
  readonly askBelow: { readonly source: number; readonly originGeneration: string; readonly origin: number } | null
}

/**
 * The only writer of a lane's outputs and dead letters, from its claim until it is fenced by the next owner. Writes are
 * ordered; several may be on their way. After any rejection it writes nothing more: claim again.
 */
export interface LaneWriter {
  readonly tail: LaneTail
  /**
   * Appends dead letters, and once they are acknowledged the outputs, each as one record batch; null = none. What was called first is
   * appended and resolved first. Resolves once all is acknowledged by all in-sync replicas, with the metadata to commit with
   * `upTo`, the input offset below which everything has ended then. That metadata leads a later claim to every dead letter of
   * a record at or above `upTo`: those of later calls, and those that the tail knows from earlier claims.
   * Rejects with `lane_fenced` (retry) when another writer has claimed the lane, `outcome_unknown` (retry) when an
   * acknowledgement did not come and the same sequence could not be sent again; `record_too_large` (reject).
   */
  write(deadLetters: RecordColumns | null, outputs: RecordColumns | null, upTo: number): Promise<string>
  /** Bytes that were handed to `write` and are not acknowledged. */
  bytesInFlight(): number
  /** To be committed with `resumeAt`, before anything is written: ends of both logs, so that a later claim can tell a truncated one. */
  metadata(): string
  /** Waits for what is on its way. The fence stays. */
  close(): Promise<void>
}

export interface LaneClaims {
  /**
   * Claims the lane, fences whoever wrote it before, and reads both tails (waits for its own abort markers, never for a
   * time). `confirm` is asked before each step that would hurt a rightful owner, and ends the claim with `lane_lost` (retry) when it
   * answers false. Rejects with a `retry` error while brokers are away; `output_truncated`, `foreign_record`,
   * `topic_recreated` (crash), each naming the partition and the command that repairs it.
   */
  claim(
    lane: LaneTopics,
    committed: Committed,
    confirm: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<LaneWriter>
  /** Null when there is room for another write, else resolves when there is: all lanes share a bound of bytes in flight. */
  room(): Promise<void> | null
  close(): Promise<void>
}
