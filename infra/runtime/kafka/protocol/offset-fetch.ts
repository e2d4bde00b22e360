import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * OffsetFetch, version 5 (leader epoch).
 *
 *   request   group: STRING, topics: ARRAY of { name: STRING, partitions: ARRAY of INT32 }
 *   response  throttle_time_ms: INT32, topics: ARRAY of { name: STRING, partitions: ARRAY of
 *               { partition: INT32, offset: INT64 (-1 = none), leader_epoch: INT32, metadata: NULLABLE_STRING, error: INT16 } },
 *             error: INT16
 */

export interface FetchedPosition {
  readonly error: BrokerError | null
  readonly partition: number
  /** Null = the group has committed none. */
  readonly offset: number | null
  /** Leader epoch of the record before it, as the committer noted it; -1 = unknown. */
  readonly leaderEpoch: number
  /** Empty = none. */
  readonly metadata: string
}

export function offsetFetchRequest(
  group: string,
  topic: string,
  partitions: readonly number[],
): KafkaRequest<{ readonly error: BrokerError | null; readonly positions: readonly FetchedPosition[] }> {
  return {
    apiKey: 9,
    apiVersion: 5,
    name: 'OffsetFetch',
    body: wireWriter()
      .string(group)
      .array([topic], (name, writer) => writer.string(name).array(partitions, (partition) => writer.int32(partition)))
      .end(),
    decode(payload) {
      const reader = wireReader(payload, 'OffsetFetch')
      reader.int32()
      const topics = reader.array(() => {
        reader.string()
        return reader.array(() => {
          const partition = reader.int32()
          const offset = reader.int64()
          const leaderEpoch = reader.int32()
          const metadata = reader.string() ?? ''
          const error = brokerError(reader.int16())
          return { error, partition, offset: offset < 0 ? null : offset, leaderEpoch, metadata }
        })
      })
      return { error: brokerError(reader.int16()), positions: topics.flat() }
    },
  }
}
