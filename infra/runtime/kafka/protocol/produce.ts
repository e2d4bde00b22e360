import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * Produce, version 8: the first that tells which records of a batch were refused.
 *
 *   request   transactional_id: NULLABLE_STRING = null, acks: INT16 = -1 (all in-sync replicas), timeout_ms: INT32
 *             topics: ARRAY of { name: STRING, partitions: ARRAY of { index: INT32, records: BYTES (one record batch) } }
 *   response  topics: ARRAY of { name: STRING, partitions: ARRAY of { index: INT32, error: INT16, base_offset: INT64,
 *               log_append_time_ms: INT64, log_start_offset: INT64,
 *               record_errors: ARRAY of { batch_index: INT32, message: NULLABLE_STRING },
 *               error_message: NULLABLE_STRING } }
 *             throttle_time_ms: INT32
 */

export interface BatchToProduce {
  readonly topic: string
  readonly partition: number
  /** One record batch (record-batches/). */
  readonly batch: Buffer
}

export interface ProducedBatch {
  readonly topic: string
  readonly partition: number
  readonly error: BrokerError | null
  readonly message: string | null
  /** Of the batch's first record; -1 where the broker does not know it any more. */
  readonly baseOffset: number
  /** Epoch ms; -1 on topics without LogAppendTime. */
  readonly appendedAt: number
  /** Records that were refused, by their index in the batch. */
  readonly recordErrors: readonly { readonly index: number; readonly message: string | null }[]
}

const ALL_IN_SYNC = -1

/** At most one batch for a partition. `timeoutMs`: how long the leader waits for its followers. */
export function produceRequest(
  batches: readonly BatchToProduce[],
  timeoutMs: number,
): KafkaRequest<readonly ProducedBatch[]> {
  const topics = [...Map.groupBy(batches, ({ topic }) => topic)]
  const writer = wireWriter().string(null).int16(ALL_IN_SYNC).int32(timeoutMs)
  writer.array(topics, ([name, partitions]) =>
    writer.string(name).array(partitions, ({ partition, batch }) => void writer.int32(partition).bytesApart(batch)),
  )
  const [body = Buffer.alloc(0), ...rest] = writer.pieces()
  return {
    apiKey: 0,
    apiVersion: 8,
    name: 'Produce',
    body,
    rest,
    holdMs: timeoutMs,
    decode: readAnswers,
  }
}

function readAnswers(payload: Buffer): readonly ProducedBatch[] {
  const reader = wireReader(payload, 'Produce')
  return reader
    .array(() => {
      const topic = reader.string() ?? ''
      return reader.array(() => {
        const partition = reader.int32()
        const error = brokerError(reader.int16())
        const baseOffset = reader.int64()
        const appendedAt = reader.int64()
        reader.int64()
        const recordErrors = reader.array(() => ({ index: reader.int32(), message: reader.string() }))
        return { topic, partition, error, baseOffset, appendedAt, recordErrors, message: reader.string() }
      })
    })
    .flat()
}
