import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * SyncGroup, version 3 (KIP-345: group_instance_id).
 *
 *   request   group: STRING, generation: INT32, member: STRING, instance: NULLABLE_STRING,
 *             assignments (from the leader alone): ARRAY of { member: STRING, assignment: BYTES }
 *   response  throttle_time_ms: INT32, error: INT16, assignment: BYTES
 */

/** Who asks, in every request of a member. */
export interface GroupMember {
  readonly group: string
  readonly generation: number
  readonly member: string
  readonly instance: string | null
}

export function syncGroupRequest(
  { group, generation, member, instance }: GroupMember,
  assignments: readonly { readonly member: string; readonly assignment: Buffer }[],
  holdMs: number,
): KafkaRequest<{ readonly error: BrokerError | null; readonly assignment: Buffer }> {
  return {
    apiKey: 14,
    apiVersion: 3,
    name: 'SyncGroup',
    holdMs,
    body: wireWriter()
      .string(group)
      .int32(generation)
      .string(member)
      .string(instance)
      .array(assignments, (one, writer) => writer.string(one.member).bytes(one.assignment))
      .end(),
    decode(payload) {
      const reader = wireReader(payload, 'SyncGroup')
      reader.int32()
      return { error: brokerError(reader.int16()), assignment: reader.bytes() ?? Buffer.alloc(0) }
    },
  }
}
