import { type BrokerError, brokerError } from './error-codes.ts'
import type { Isolation } from './fetch.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * ListOffsets, version 5.
 *
 *   request   replica_id: INT32 = -1, isolation_level: INT8 (0 read_uncommitted, 1 read_committed),
 *             topics: ARRAY of { name: STRING,
 *                       partitions: ARRAY of { partition: INT32, current_leader_epoch: INT32, timestamp: INT64 } }
 *   response  throttle_time_ms: INT32,
 *             topics: ARRAY of { name: STRING, partitions: ARRAY of
 *                       { partition: INT32, error: INT16, timestamp: INT64, offset: INT64, leader_epoch: INT32 } }
 */
const ANY_EPOCH = -1
const WHEN = { latest: -1, earliest: -2 } as const

/** The log's first offset, its end (as the isolation level sees it), or the first record at or after a time (epoch ms). */
export type OffsetQuery = 'earliest' | 'latest' | number

export interface ListedOffset {
  readonly topic: string
  readonly partition: number
  readonly error: BrokerError | null
  /** -1 when no record is that late, or with an error. */
  readonly offset: number
  readonly timestamp: number
}

export function listOffsetsRequest(
  topic: string,
  partitions: readonly number[],
  query: OffsetQuery,
  isolation: Isolation,
): KafkaRequest<readonly ListedOffset[]> {
  const timestamp = typeof query === 'number' ? query : WHEN[query]
  return {
    apiKey: 2,
    apiVersion: 5,
    name: 'ListOffsets',
    body: wireWriter()
      .int32(-1)
      .int8(isolation === 'read_committed' ? 1 : 0)
      .array([topic], (name, topics) =>
        topics
          .string(name)
          .array(partitions, (partition, writer) => writer.int32(partition).int32(ANY_EPOCH).int64(timestamp)),
      )
      .end(),
    decode(payload) {
      const reader = wireReader(payload, 'ListOffsets')
      reader.int32()
      const topics = reader.array(() => {
        const name = reader.string() ?? ''
        return reader.array((): ListedOffset => {
          const partition = reader.int32()
          const error = brokerError(reader.int16())
          const at = reader.int64()
          const offset = reader.int64()
          reader.int32()
          return { topic: name, partition, error, offset, timestamp: at }
        })
      })
      return topics.flat()
    },
  }
}
