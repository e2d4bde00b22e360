export interface OutgoingRecord {
  readonly key: Buffer | null
  readonly value: Buffer
  readonly headers?: Readonly<Record<string, Buffer>>
}

export interface OutgoingBatch {
  readonly topic: string
  readonly partition: number
  readonly records: readonly OutgoingRecord[]
}

export interface WrittenBatch {
  readonly topic: string
  readonly partition: number
  /** Offset of the batch's first record; the others follow it. */
  readonly baseOffset: number
  /** Append time, epoch ms; -1 on topics without LogAppendTime. */
  readonly appendedAt: number
}

/**
 * Writes with acks=all, at most one batch per topic and partition in a call. `write` resolves in the order of its input once everything is acknowledged, and rejects with a
 * `retry` error when the outcome is unknown or the broker cannot be reached: some of it may then be in the log.
 */
export interface RecordWriter {
  write(batches: readonly OutgoingBatch[]): Promise<readonly WrittenBatch[]>
}
