/**
 * The other side of `npm run bench:hop`: what one would write with kafkajs, the registry client and onnxruntime-node, as
 * their documentation shows it. An object for each event, one run of the model and one send for each batch; at least once.
 */
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry'
import { Kafka, type KafkaMessage, logLevel } from 'kafkajs'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { Prediction } from '../../../schemas/generated/records.ts'
import { CARRIERS, DESTINATIONS, ORIGINS } from '../../sample/flights/vocabulary.ts'
import type { FlightDeparture } from '../flights/generated/records.ts'
import { readSettings, report, startFigures } from './child.ts'

const DAY_MS = 86_400_000
const WIDTH = 16
const CLASSES = 2

const settings = readSettings()
const { topics, model } = settings
process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'
const kafka = new Kafka({ brokers: [...settings.brokers], clientId: 'straightforward', logLevel: logLevel.ERROR })
const registry = new SchemaRegistry({ host: settings.registryUrl })
const schemaId = await registry.getLatestSchemaId(`${topics.output}-value`)
const session = model === null ? null : await InferenceSession.create(model.file, { intraOpNumThreads: 1 })

function featuresOf(event: FlightDeparture): number[] {
  return [
    event.dep_delay,
    event.distance,
    Math.trunc(event.sched_dep_time / 100),
    (Math.floor(event.event_time / DAY_MS) + 3) % 7,
    CARRIERS.indexOf(event.carrier),
    ORIGINS.indexOf(event.origin),
    DESTINATIONS.indexOf(event.dest),
    event.temp ?? Number.NaN,
    event.humid ?? Number.NaN,
    event.wind_speed ?? Number.NaN,
    event.wind_gust ?? Number.NaN,
    event.precip ?? Number.NaN,
    event.pressure ?? Number.NaN,
    event.visib ?? Number.NaN,
    event.plane_year === null ? Number.NaN : 2013 - event.plane_year,
    event.seats ?? Number.NaN,
  ]
}

async function scoresOf(rows: readonly number[][]): Promise<Float32Array> {
  if (session === null) return new Float32Array(rows.length * CLASSES)
  const tensor = new Tensor('float32', Float32Array.from(rows.flat()), [rows.length, WIDTH])
  return (await session.run({ features: tensor }))['probabilities']?.data as Float32Array
}

const consumer = kafka.consumer({ groupId: settings.group })
const producer = kafka.producer()
await consumer.connect()
await producer.connect()
await consumer.subscribe({ topics: [topics.events], fromBeginning: true })

const finished = Promise.withResolvers<void>()
consumer.on(consumer.events.CRASH, ({ payload }) => finished.reject(payload.error))
let events = 0
const figures = startFigures()
await consumer.run({
  async eachBatch({ batch, heartbeat }) {
    const valid: { readonly message: KafkaMessage; readonly event: FlightDeparture }[] = []
    for (const message of batch.messages) {
      const event: FlightDeparture = await registry.decode(message.value as Buffer)
      if (event.distance > 0 && event.distance < 6_000) valid.push({ message, event })
    }
    const rows = valid.map(({ event }) => featuresOf(event))
    const scores = await scoresOf(rows)
    const messages = []
    for (const [row, { message, event }] of valid.entries()) {
      const outputs = [...scores.subarray(row * CLASSES, (row + 1) * CLASSES)]
      const prediction: Prediction = {
        event_id: event.event_id,
        tenant: 'default',
        segment: event.origin,
        event_time: event.event_time,
        ingested_at: Number(message.timestamp),
        event_schema_id: 1,
        origin_generation: batch.topic,
        origin_offset: Number(message.offset),
        source_generation: batch.topic,
        source_offset: Number(message.offset),
        feature_set: '00000000000000000000000000000000',
        features: rows[row] ?? [],
        degraded: false,
        traceparent: null,
        model: 'bench',
        model_version: '1',
        model_digest: '0'.repeat(64),
        role: 'primary',
        score: outputs[1] ?? 0,
        outputs,
        label: null,
        provider: 'cpu',
        batch_rows: rows.length,
        scored_at: Date.now(),
        answer: 'scored',
      }
      messages.push({ key: message.key, value: await registry.encode(schemaId, prediction) })
    }
    await producer.send({ topic: topics.output, acks: -1, messages })
    await heartbeat()
    events += batch.messages.length
    if (events >= settings.events) finished.resolve()
  },
})
await finished.promise
report(figures(events))
await consumer.disconnect()
await producer.disconnect()
