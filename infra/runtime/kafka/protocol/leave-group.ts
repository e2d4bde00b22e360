import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * LeaveGroup, version 3 (KIP-345: several members, group_instance_id).
 *
 *   request   group: STRING, members: ARRAY of { member: STRING, instance: NULLABLE_STRING }
 *   response  throttle_time_ms: INT32, error: INT16, members: ARRAY of { member, instance: NULLABLE_STRING, error: INT16 }
 */

export function leaveGroupRequest(group: string, member: string): KafkaRequest<BrokerError | null> {
  return {
    apiKey: 13,
    apiVersion: 3,
    name: 'LeaveGroup',
    body: wireWriter()
      .string(group)
      .array([member], (id, writer) => writer.string(id).string(null))
      .end(),
    decode(payload) {
      const reader = wireReader(payload, 'LeaveGroup')
      reader.int32()
      const error = brokerError(reader.int16())
      const [own = null] = reader.array(() => {
        reader.string()
        reader.string()
        return brokerError(reader.int16())
      })
      return error ?? own
    },
  }
}
