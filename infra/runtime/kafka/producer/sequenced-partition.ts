import type { MillraceError } from '../../errors.ts'
import type { ProducerIdentity } from '../protocol/init-producer-id.ts'
import type { RecordColumns } from '../record-batches/columns.ts'

/** Where a batch went. */
export interface AppendedBatch {
  /** Offset of the first record, the others follow it; -1 where the broker only knows that it has the batch. */
  readonly baseOffset: number
  /** Epoch ms; -1 on topics without LogAppendTime. */
  readonly appendedAt: number
}

/** One partition written under one producer id and epoch. */
export interface SequencedPartition {
  /**
   * Appends one record batch with acks=all, in the order of the calls, which may overlap. It is sent again, with the same
   * sequence, until it is acknowledged. Rejects with
   *
   *   outcome_unknown                     retry    no acknowledgement within `deliveryTimeoutMs`, or the order is lost
   *   lane_fenced                         retry    another epoch or id has been claimed
   *   record_too_large, invalid_record    reject   refused for good; it is not in the log
   *   topic_recreated, output_truncated   crash    the log is not the one that was written before
   *   kafka_refused                       crash
   *
   * After a rejection everything behind it is rejected too, and so is every later call (`ended`); except that a batch refused
   * for good with nothing behind it leaves the partition as it was.
   */
  append(records: RecordColumns): Promise<AppendedBatch>
  /** The next batch, and every one until an acknowledgement, is alone on its way. */
  alone(): void
  /** From now on nothing is sent; what is not acknowledged is rejected with the error, as is every later call. */
  end(error: MillraceError): void
  readonly ended: boolean
  readonly bytesInFlight: number
}

export interface PartitionOptions {
  readonly topic: string
  readonly partition: number
  readonly producer: ProducerIdentity
  /** Topic id; a change ends it. Null = whatever has the name. */
  readonly generation: string | null
  /** Acknowledged offsets below it mean another log. */
  readonly logEnd: number
  /** Asked before each send: false ends it with `lane_lost` (retry). */
  readonly trusted: () => boolean
  readonly firstSequence?: number
}
