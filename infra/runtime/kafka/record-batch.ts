/**
 * Records of one partition in offset order, read by position: a batch may be a view over a fetch buffer.
 * Buffers that it hands out are valid until the batch is settled; copy what has to live longer.
 * The log may have gaps (compaction, transaction markers), so offsets are not consecutive.
 */
export interface RecordBatch {
  readonly topic: string
  readonly partition: number
  /** Id (UUID) of the topic that the offsets belong to: a topic deleted and made again has another. */
  readonly generation: string
  readonly length: number
  /** Size of keys and values, bytes. */
  readonly bytes: number
  offset(index: number): number
  /** Append time where the topic is ours (LogAppendTime), epoch ms. */
  timestamp(index: number): number
  key(index: number): Buffer | null
  /** Null = tombstone. */
  value(index: number): Buffer | null
  /** Last header of that name. */
  header(index: number, name: string): Buffer | null
  headerNames(index: number): readonly string[]
}
