import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import type { GroupMember } from './sync-group.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * Heartbeat, version 3 (KIP-345: group_instance_id).
 *
 *   request   group: STRING, generation: INT32, member: STRING, instance: NULLABLE_STRING
 *   response  throttle_time_ms: INT32, error: INT16
 */

export function heartbeatRequest({
  group,
  generation,
  member,
  instance,
}: GroupMember): KafkaRequest<BrokerError | null> {
  return {
    apiKey: 12,
    apiVersion: 3,
    name: 'Heartbeat',
    body: wireWriter().string(group).int32(generation).string(member).string(instance).end(),
    decode(payload) {
      const reader = wireReader(payload, 'Heartbeat')
      reader.int32()
      return brokerError(reader.int16())
    },
  }
}
