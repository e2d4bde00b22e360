import { type BrokerError, brokerError } from './error-codes.ts'
import type { BrokerAddress } from './metadata.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * FindCoordinator, version 2.
 *
 *   request   key: STRING, key_type: INT8 (0 group, 1 transaction)
 *   response  throttle_time_ms: INT32, error: INT16, error_message: NULLABLE_STRING, node_id: INT32, host: STRING, port: INT32
 */

export type CoordinatorKind = 'group' | 'transaction'

export interface FoundCoordinator {
  readonly error: BrokerError | null
  readonly broker: BrokerAddress
}

export function findCoordinatorRequest(kind: CoordinatorKind, key: string): KafkaRequest<FoundCoordinator> {
  return {
    apiKey: 10,
    apiVersion: 2,
    name: 'FindCoordinator',
    body: wireWriter()
      .string(key)
      .int8(kind === 'group' ? 0 : 1)
      .end(),
    decode(payload) {
      const reader = wireReader(payload, 'FindCoordinator')
      reader.int32()
      const error = brokerError(reader.int16())
      reader.string()
      return { error, broker: { node: reader.int32(), host: reader.string() ?? '', port: reader.int32() } }
    },
  }
}
