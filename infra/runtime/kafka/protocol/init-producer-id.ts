import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * InitProducerId, version 1.
 *
 *   request   transactional_id: NULLABLE_STRING, transaction_timeout_ms: INT32
 *   response  throttle_time_ms: INT32, error: INT16, producer_id: INT64, producer_epoch: INT16
 */

export interface ProducerIdentity {
  readonly id: bigint
  /** Up to 32,766; then the id changes. */
  readonly epoch: number
}

/**
 * With a transactional id, to its coordinator: its producer id with the next epoch. Without, to any broker: a new producer
 * id.
 */
export function initProducerIdRequest(
  transactionalId: string | null,
  transactionTimeoutMs: number,
): KafkaRequest<{ readonly error: BrokerError | null; readonly producer: ProducerIdentity }> {
  return {
    apiKey: 22,
    apiVersion: 1,
    name: 'InitProducerId',
    body: wireWriter().string(transactionalId).int32(transactionTimeoutMs).end(),
    decode(payload) {
      const reader = wireReader(payload, 'InitProducerId')
      reader.int32()
      const error = brokerError(reader.int16())
      return { error, producer: { id: reader.bigint64(), epoch: reader.int16() } }
    },
  }
}
