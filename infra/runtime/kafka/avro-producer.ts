import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { parseAvroSchema } from '../avro/avro-type.ts'
import type { SchemaRegistry } from '../avro/schema-registry.ts'
import { fatal, rejected } from '../errors.ts'
import type { Started } from '../lifecycle/scope.ts'
import {
  type Appended,
  type BatchingProducer,
  type BatchingProducerOptions,
  startBatchingProducer,
} from './batching-producer.ts'
import type { KafkaAdmin } from './kafka-admin.ts'
import type { OutgoingRecord } from './record-writer.ts'

/** Sends records of one Avro schema to one topic; see BatchingProducer for order, back-pressure and errors. */
export interface AvroProducer<T> extends Pick<BatchingProducer, 'room' | 'flush'> {
  /** Rejects with `invalid_record` (reject), naming the field; the other records are not touched by it. */
  send(record: T, headers?: OutgoingRecord['headers']): Promise<Appended>
}

export interface AvroProducerOptions<T> extends Omit<BatchingProducerOptions, 'partitions'> {
  readonly subject: string
  readonly schema: AvroSchema
  /** Decides the partition, by murmur2 of its UTF-8; records of one key stay in order. Null: any partition. */
  readonly keyOf: (record: T) => string | null
  readonly admin: KafkaAdmin
  readonly registry: SchemaRegistry
}

/**
 * Registers the schema, or finds it registered. The topic's partition count is read once, now.
 * Rejects with `unknown_topic`, `invalid_schema` or `incompatible_schema` (crash), or a `retry` error.
 */
export async function startAvroProducer<T>(options: AvroProducerOptions<T>): Promise<Started<AvroProducer<T>>> {
  const { topic, subject, schema, keyOf, admin, registry } = options
  const type = parseAvroSchema(schema, `the schema of ${topic}`)
  const partitions = (await admin.partitionCounts([topic])).get(topic)
  if (partitions === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
  const schemaId = await registry.register(subject, schema)
  const engine = startBatchingProducer({ ...options, partitions })
  return {
    value: {
      send: (record, headers) =>
        engine.value.send(() => {
          const undeclared = type.undeclared(record)
          if (undeclared !== null) throw rejected('invalid_record', `the schema has no field ${undeclared}`)
          const value = type.encode(schemaId, record)
          const key = keyOf(record)
          return {
            key: key === null ? null : Buffer.from(key),
            value,
            ...(headers === undefined ? {} : { headers }),
          }
        }),
      room: () => engine.value.room(),
      flush: () => engine.value.flush(),
    },
    stop: () => engine.stop(),
  }
}
