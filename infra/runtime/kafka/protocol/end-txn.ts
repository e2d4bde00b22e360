import { type BrokerError, brokerError } from './error-codes.ts'
import type { ProducerIdentity } from './init-producer-id.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * EndTxn, version 1: from version 5 on the broker would raise the epoch with each transaction.
 *
 *   request   transactional_id: STRING, producer_id: INT64, producer_epoch: INT16, committed: BOOLEAN
 *   response  throttle_time_ms: INT32, error: INT16
 */

/** Its answer says that the abort is decided; the marker in the log comes later. */
export function abortTxnRequest(transactionalId: string, producer: ProducerIdentity): KafkaRequest<BrokerError | null> {
  return {
    apiKey: 26,
    apiVersion: 1,
    name: 'EndTxn',
    body: wireWriter().string(transactionalId).int64(producer.id).int16(producer.epoch).boolean(false).end(),
    decode(payload) {
      const reader = wireReader(payload, 'EndTxn')
      reader.int32()
      return brokerError(reader.int16())
    },
  }
}
