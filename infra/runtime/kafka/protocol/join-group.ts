import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * JoinGroup, version 5 (KIP-345: group_instance_id).
 *
 *   request   group: STRING, session_timeout_ms: INT32, rebalance_timeout_ms: INT32, member: STRING ('' = a new one),
 *             instance: NULLABLE_STRING, protocol_type: STRING, protocols: ARRAY of { name: STRING, metadata: BYTES }
 *   response  throttle_time_ms: INT32, error: INT16, generation: INT32, protocol: NULLABLE_STRING, leader: STRING, member: STRING,
 *             members (to the leader alone): ARRAY of { member: STRING, instance: NULLABLE_STRING, metadata: BYTES }
 */

export interface JoinGroup {
  readonly group: string
  readonly sessionTimeoutMs: number
  /** How long the coordinator waits for the other members to join, at most. */
  readonly rebalanceTimeoutMs: number
  /** Empty before the coordinator has given one. */
  readonly member: string
  readonly instance: string | null
  readonly protocol: string
  /** Handed to the leader: consumer-protocol.ts. */
  readonly metadata: Buffer
}

export interface JoinedGroup {
  readonly error: BrokerError | null
  readonly generation: number
  readonly leader: string
  /** Also with MEMBER_ID_REQUIRED: the id to join with. */
  readonly member: string
  readonly members: readonly { readonly member: string; readonly metadata: Buffer }[]
}

export function joinGroupRequest(join: JoinGroup): KafkaRequest<JoinedGroup> {
  return {
    apiKey: 11,
    apiVersion: 5,
    name: 'JoinGroup',
    holdMs: join.rebalanceTimeoutMs,
    body: wireWriter()
      .string(join.group)
      .int32(join.sessionTimeoutMs)
      .int32(join.rebalanceTimeoutMs)
      .string(join.member)
      .string(join.instance)
      .string('consumer')
      .array([join], ({ protocol, metadata }, writer) => writer.string(protocol).bytes(metadata))
      .end(),
    decode(payload) {
      const reader = wireReader(payload, 'JoinGroup')
      reader.int32()
      const error = brokerError(reader.int16())
      const generation = reader.int32()
      reader.string()
      const leader = reader.string() ?? ''
      const member = reader.string() ?? ''
      const members = reader.array(() => {
        const id = reader.string() ?? ''
        reader.string()
        return { member: id, metadata: reader.bytes() ?? Buffer.alloc(0) }
      })
      return { error, generation, leader, member, members }
    },
  }
}
