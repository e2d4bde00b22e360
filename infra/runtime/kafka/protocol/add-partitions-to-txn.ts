import { type BrokerError, brokerError } from './error-codes.ts'
import type { ProducerIdentity } from './init-producer-id.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * AddPartitionsToTxn, version 1, of one partition.
 *
 *   request   transactional_id: STRING, producer_id: INT64, producer_epoch: INT16,
 *             topics: ARRAY of { name: STRING, partitions: ARRAY of INT32 }
 *   response  throttle_time_ms: INT32,
 *             results: ARRAY of { name: STRING, partitions: ARRAY of { index: INT32, error: INT16 } }
 */
export function addPartitionToTxnRequest(
  transactionalId: string,
  producer: ProducerIdentity,
  topic: string,
  partition: number,
): KafkaRequest<BrokerError | null> {
  const writer = wireWriter().string(transactionalId).int64(producer.id).int16(producer.epoch)
  writer.array([topic], (name) => void writer.string(name).array([partition], (index) => void writer.int32(index)))
  return {
    apiKey: 24,
    apiVersion: 1,
    name: 'AddPartitionsToTxn',
    body: writer.end(),
    decode(payload) {
      const reader = wireReader(payload, 'AddPartitionsToTxn')
      reader.int32()
      const errors = reader.array(() => {
        reader.string()
        return reader.array(() => {
          reader.int32()
          return brokerError(reader.int16())
        })
      })
      return errors.flat().find((error) => error !== null) ?? null
    },
  }
}
