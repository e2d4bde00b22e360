import { once } from 'node:events'
import { Kafka, logLevel } from 'kafkajs'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { uniqueName } from './unique-name.ts'

export interface TopicRecord<T> {
  readonly partition: number
  readonly offset: number
  readonly key: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly value: T
}

/** Everything that is in the topic now, with its Avro values decoded; in order within a partition. */
export async function readTopic<T>(brokers: string, topic: string, schema: AvroSchema): Promise<TopicRecord<T>[]> {
  const kafka = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING })
  const type = parseAvroSchema(schema, topic)
  const decode = type.readerOf(type)
  const admin = kafka.admin()
  await admin.connect()
  const ranges = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const open = new Set(ranges.filter(({ low, high }) => low !== high).map(({ partition }) => partition))
  if (open.size === 0) return []

  const records: TopicRecord<T>[] = []
  const reading = new AbortController()
  const done = once(reading.signal, 'abort')
  const consumer = kafka.consumer({ groupId: uniqueName('read') })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      const { key, value, offset, headers = {} } = message
      records.push({
        partition,
        offset: Number(offset),
        key: key === null ? null : key.toString(),
        headers: Object.fromEntries(Object.entries(headers).map(([name, header]) => [name, String(header)])),
        value: decode(value ?? Buffer.alloc(0)) as T,
      })
      const high = ranges.find((range) => range.partition === partition)?.high
      if (Number(offset) + 1 >= Number(high)) open.delete(partition)
      if (open.size === 0) reading.abort()
    },
  })
  await done
  await consumer.disconnect()
  return records
}
