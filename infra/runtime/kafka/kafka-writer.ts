import type { Message, Producer, RecordMetadata } from 'kafkajs'
import type { KafkaClient } from './kafka-client.ts'
import { kafkaError } from './kafka-errors.ts'
import type { OutgoingBatch, RecordWriter, WrittenBatch } from './record-writer.ts'

/** Acknowledged by all in-sync replicas. */
const ALL = -1

/** One request at a time per broker, so that a retried batch never lands behind its successor. */
export async function startKafkaWriter(
  client: KafkaClient,
): Promise<{ readonly value: RecordWriter; stop(): Promise<void> }> {
  const producer = client.native.producer({ allowAutoTopicCreation: false, maxInFlightRequests: 1, idempotent: false })
  try {
    await producer.connect()
  } catch (error) {
    throw kafkaError(error, 'connecting the producer')
  }
  return {
    value: { write: (batches) => write(producer, batches) },
    stop: () => producer.disconnect(),
  }
}

async function write(producer: Producer, batches: readonly OutgoingBatch[]): Promise<readonly WrittenBatch[]> {
  const filled = batches.filter((batch) => batch.records.length > 0)
  if (filled.length === 0) return []
  let metadata: RecordMetadata[]
  try {
    metadata = await producer.sendBatch({ acks: ALL, topicMessages: [...byTopic(filled)] })
  } catch (error) {
    throw kafkaError(error, `writing to ${[...new Set(filled.map((batch) => batch.topic))].join(', ')}`)
  }
  return filled.map(({ topic, partition }) => {
    const answer = metadata.find((each) => each.topicName === topic && each.partition === partition)
    if (answer === undefined) throw kafkaError(new Error('no answer'), `writing to ${topic}/${partition}`)
    return {
      topic,
      partition,
      baseOffset: Number(answer.baseOffset),
      appendedAt: Number(answer.logAppendTime ?? -1),
    }
  })
}

function* byTopic(batches: readonly OutgoingBatch[]) {
  for (const [topic, group] of Map.groupBy(batches, (batch) => batch.topic)) {
    const byPartition: Record<number, Message[]> = {}
    for (const { partition, records } of group) {
      const messages = byPartition[partition] ?? []
      byPartition[partition] = messages
      for (const { key, value, headers } of records) {
        messages.push({ partition, key, value, ...(headers === undefined ? {} : { headers: { ...headers } }) })
      }
    }
    // kafkajs groups by partition with a `reduce` that copies the group for every message; they are grouped already
    const messages = Object.assign(Object.values(byPartition).flat(), { reduce: () => byPartition })
    yield { topic, messages }
  }
}
