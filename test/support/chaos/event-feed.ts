import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseAvroSchema, readAvroFile } from '../../../infra/runtime/avro/avro-type.ts'
import type { SchemaRegistry } from '../../../infra/runtime/avro/schema-registry.ts'
import { fateOf } from '../../../infra/runtime/errors.ts'
import type { KafkaClient } from '../../../infra/runtime/kafka/kafka-client.ts'
import { kafkaError } from '../../../infra/runtime/kafka/kafka-errors.ts'
import { partitionOfKey } from '../../../infra/runtime/kafka/partitioner.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { SeededRandom } from '../seeded-random.ts'

const TEMPLATES = 5_000
const ID = 'chaos-0000000000'
const ID_AT = 6
/** One event in so many is refused by a check, is no Avro at all, is followed by a label. */
const REFUSED_EVERY = 50
const GARBAGE_EVERY = 997
const LABEL_EVERY = 10
const BATCH = 1_000
const RETRY_MS = 500

interface Template {
  readonly key: Buffer
  readonly partition: number
  readonly value: Buffer
}

/** Flights of the sample again and again, each with an id of its own, as fast as Kafka takes them. */
export interface EventFeed {
  /** Events that Kafka has acknowledged; a batch whose answer was lost is sent again and counts once. */
  readonly sent: number
  /** Sends so many more. Goes on through outages; rejects when `signal` aborts. */
  send(count: number, signal: AbortSignal): Promise<void>
  stop(): Promise<void>
}

export async function startEventFeed(deps: {
  readonly pipeline: CompiledPipeline
  readonly partitions: number
  readonly registry: SchemaRegistry
  readonly kafka: KafkaClient
  readonly random: SeededRandom
}): Promise<EventFeed> {
  const { pipeline, partitions, registry, random } = deps
  const { event, label } = pipeline
  if (label === null) throw new Error(`${pipeline.name} has no label`)
  const eventType = parseAvroSchema(event.schema, 'event')
  const eventId = await registry.register(event.subject, event.schema)
  const labelType = parseAvroSchema(label.schema, 'label')
  const labelId = await registry.register(label.subject, label.schema)
  const records = await sampleRecords(path.join(pipeline.folder, 'data/events.avro'))
  const templates = records.map((record): Template => {
    const key = Buffer.from(String(record[event.keyField ?? ''] ?? 'unknown'))
    const value = eventType.encode(eventId, { ...record, event_id: ID })
    return { key, partition: partitionOfKey(key, partitions), value }
  })
  const refused = records.map((record) => eventType.encode(eventId, { ...record, event_id: ID, distance: -1 }))
  const labelValue = labelType.encode(labelId, { event_id: ID, arr_delay: 20, arrived_at: Date.UTC(2013, 0, 2) })

  const producer = deps.kafka.native.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  let sent = 0

  function batch(from: number, to: number) {
    const events: { key: Buffer; value: Buffer; partition: number }[] = []
    const labels: { key: Buffer; value: Buffer; partition: number }[] = []
    for (let number = from; number < to; number++) {
      const row = random.between(0, templates.length - 1)
      const { key, partition, value } = templates[row] as Template
      if (number % GARBAGE_EVERY === GARBAGE_EVERY - 1) events.push({ key, partition, value: Buffer.from('garbage') })
      else {
        const isRefused = number % REFUSED_EVERY === REFUSED_EVERY - 1
        events.push({ key, partition, value: withId(isRefused ? (refused[row] as Buffer) : value, number) })
      }
      if (number % LABEL_EVERY === 0) {
        const id = Buffer.from(idText(number))
        labels.push({ key: id, partition: partitionOfKey(id, partitions), value: withId(labelValue, number) })
      }
    }
    return [
      { topic: event.topic, messages: events },
      { topic: (label as NonNullable<typeof label>).topic, messages: labels },
    ].filter(({ messages }) => messages.length > 0)
  }

  return {
    get sent() {
      return sent
    },
    async send(count, signal) {
      for (const end = sent + count; sent < end; ) {
        const to = Math.min(end, sent + BATCH)
        const topicMessages = batch(sent, to)
        for (;;) {
          signal.throwIfAborted()
          try {
            await producer.sendBatch({ acks: -1, topicMessages })
            break
          } catch (error) {
            // a broker that is down on purpose: as in any producer with retries, what it took is then there twice
            const problem = kafkaError(error, 'sending events')
            if (fateOf(problem) !== 'retry') throw problem
            await delay(RETRY_MS, undefined, { signal })
          }
        }
        sent = to
      }
    },
    stop: () => producer.disconnect(),
  }
}

async function sampleRecords(file: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const records: Readonly<Record<string, unknown>>[] = []
  for await (const record of readAvroFile(file)) {
    records.push(record as Readonly<Record<string, unknown>>)
    if (records.length === TEMPLATES) break
  }
  return records
}

function idText(number: number): string {
  return `chaos-${String(number).padStart(10, '0')}`
}

/** The schemas begin with the id, and all ids have one length. */
function withId(template: Buffer, number: number): Buffer {
  const value = Buffer.from(template)
  value.write(idText(number), ID_AT, 'latin1')
  return value
}
