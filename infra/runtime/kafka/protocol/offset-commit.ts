import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import type { GroupMember } from './sync-group.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * OffsetCommit, version 7 (6: leader epoch, 7: group_instance_id).
 *
 *   request   group: STRING, generation: INT32 (-1 = not a member), member: STRING, instance: NULLABLE_STRING,
 *             topics: ARRAY of { name: STRING, partitions: ARRAY of
 *               { partition: INT32, offset: INT64, leader_epoch: INT32 (-1 = unknown), metadata: NULLABLE_STRING } }
 *   response  throttle_time_ms: INT32, topics: ARRAY of { name: STRING, partitions: ARRAY of { partition: INT32, error: INT16 } }
 */

export interface CommittedPosition {
  readonly partition: number
  readonly offset: number
  readonly metadata: string
}

const NO_LEADER_EPOCH = -1

/** Answers the error of each partition. */
export function offsetCommitRequest(
  { group, generation, member, instance }: GroupMember,
  topic: string,
  positions: readonly CommittedPosition[],
): KafkaRequest<ReadonlyMap<number, BrokerError | null>> {
  return {
    apiKey: 8,
    apiVersion: 7,
    name: 'OffsetCommit',
    body: wireWriter()
      .string(group)
      .int32(generation)
      .string(member)
      .string(instance)
      .array([topic], (name, writer) =>
        writer
          .string(name)
          .array(positions, ({ partition, offset, metadata }) =>
            writer.int32(partition).int64(offset).int32(NO_LEADER_EPOCH).string(metadata),
          ),
      )
      .end(),
    decode(payload) {
      const reader = wireReader(payload, 'OffsetCommit')
      const errors = new Map<number, BrokerError | null>()
      reader.int32()
      reader.array(() => {
        reader.string()
        reader.array(() => errors.set(reader.int32(), brokerError(reader.int16())))
      })
      return errors
    },
  }
}
