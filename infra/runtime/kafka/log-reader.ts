import type { RecordSet } from './record-batches/decode-record-set.ts'

export interface LogRange {
  /** First offset that the log still has. */
  readonly start: number
  /** Offset that the next record will get (high watermark), or with `committed` the end of what read_committed sees. */
  readonly end: number
}

/** Reads partitions without a group: tails, audits, replays. Calls may overlap. */
export interface LogReader {
  range(topic: string, partition: number): Promise<LogRange>
  /**
   * Decoded records and markers of [from, to), one set per fetch, in order; ends at `to` or at the log's end when that is lower.
   * Throws `position_lost` (crash) when the log does not reach back to `from`; retries by itself while a leader is away, until `signal` aborts.
   */
  read(
    topic: string,
    partition: number,
    from: number,
    to: number,
    options?: { readonly isolation?: 'read_committed' | 'read_uncommitted'; readonly signal?: AbortSignal },
  ): AsyncIterable<RecordSet>
  /** Waits until the log's end is above `offset`. */
  waitForEnd(topic: string, partition: number, offset: number, signal: AbortSignal): Promise<LogRange>
}
