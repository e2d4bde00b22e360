import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { startEventProducer } from 'millrace/producer'
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from 'vitest'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig } from '../../infra/runtime/config.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { partitionOfKey } from '../../infra/runtime/kafka/partitioner.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { parseRequestId } from '../../schemas/request-id.ts'
import { eventually } from '../support/eventually.ts'
import { readTopic } from '../support/read-topic.ts'
import { uniqueName } from '../support/unique-name.ts'

const PARTITIONS = 4
const SCHEMA = {
  type: 'record',
  name: 'Reading',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'sensor', type: ['null', 'string'], default: null },
    { name: 'celsius', type: 'double' },
    { name: 'note', type: ['null', 'string'], default: null },
  ],
}
interface Reading {
  readonly id: number
  readonly sensor: string | null
  readonly celsius: number
  readonly note?: string
}

const settings = readConfig(CONNECTIONS, inject('stack').env)
const brokers = settings.kafkaBrokers.join(',')
let admin: KafkaAdmin
let stopAdmin = async (): Promise<void> => {}

beforeAll(async () => {
  const started = await startKafkaAdmin(createKafkaClient(kafkaConfig(settings), 'test', silentLogger))
  admin = started.value
  stopAdmin = started.stop
})
afterAll(() => stopAdmin())

async function newTopic(config: Readonly<Record<string, string>> = {}): Promise<string> {
  const name = uniqueName('readings')
  const logAppendTime = { 'message.timestamp.type': 'LogAppendTime' }
  const topic = { name, partitions: PARTITIONS, replicas: 1, config: { ...logAppendTime, ...config } }
  await eventually(() => admin.createTopic(topic), { deadlineMs: 60_000 })
  return name
}

async function producerOf(topic: string, schema: AvroSchema = SCHEMA) {
  const { value, stop } = await startEventProducer<Reading>({
    kafka: kafkaConfig(settings),
    registry: registryConfig(settings),
    topic,
    schema,
    keyOf: ({ sensor }) => sensor,
    pipeline: 'readings',
    lingerMs: 2,
  })
  onTestFinished(stop)
  return value
}

const readings = (count: number): Reading[] =>
  Array.from({ length: count }, (_, id) => ({ id, sensor: id % 3 === 0 ? null : `s${id % 17}`, celsius: id / 2 }))

test('every record is where its answer says, in the order of its key', async () => {
  const topic = await newTopic()
  const producer = await producerOf(topic)
  const sent = await Promise.all(readings(5_000).map((reading) => producer.send(reading)))
  const records = await readTopic<Reading>(brokers, topic, SCHEMA)
  expect(records).toHaveLength(5_000)

  const found = new Map(records.map((record) => [`${record.partition}/${record.offset}`, record]))
  const lastOffset = new Map<string, number>()
  for (const [id, { partition, offset, requestId, appendedAt }] of sent.entries()) {
    const record = found.get(`${partition}/${offset}`)
    expect(record?.value.id).toBe(id)
    expect(parseRequestId(requestId ?? '')).toMatchObject({ pipeline: 'readings', partition, offset })
    expect(Math.abs(Date.now() - appendedAt)).toBeLessThan(60_000)
    const key = record?.key ?? null
    if (key === null) continue
    expect(partition).toBe(partitionOfKey(Buffer.from(key), PARTITIONS))
    expect(offset).toBeGreaterThan(lastOffset.get(key) ?? -1)
    lastOffset.set(key, offset)
  }
})

test('a bad record fails with a message that names its field, and leaves its neighbours alone', async () => {
  const topic = await newTopic()
  const producer = await producerOf(topic)
  const wrong = [
    { id: 1, sensor: 's', celsius: 'warm' },
    { id: 2, sensor: 's' },
    { id: 3, sensor: 's', celsius: 1, nota: 'misspelt' },
  ] as unknown as Reading[]
  const results = await producer.sendAll([...readings(2), ...wrong, { id: 4, sensor: 's', celsius: 4, note: 'fine' }])
  expect(results.map((result) => (result.ok ? 'ok' : `${result.error.code}: ${result.error.message}`))).toEqual([
    'ok',
    'ok',
    'invalid_record: celsius is a string, which is no double',
    'invalid_record: celsius is missing, which is no double',
    'invalid_record: the schema has no field nota',
    'ok',
  ])
  const records = await readTopic<Reading>(brokers, topic, SCHEMA)
  expect(records.map(({ value }) => value.id).sort()).toEqual([0, 1, 4])
})

test('a record that is too large for the topic fails alone', async () => {
  const topic = await newTopic({ 'max.message.bytes': '20000' })
  const producer = await producerOf(topic)
  // batches are compressed, and this does not become smaller than the topic takes
  const large = { id: 50, sensor: 's1', celsius: 0, note: randomBytes(30_000).toString('hex') }
  const results = await producer.sendAll([...readings(50), large, ...readings(50)])
  expect(results.flatMap((result, index) => (result.ok ? [] : [`${index} ${result.error.code}`]))).toEqual([
    '50 record_too_large',
  ])
  expect(await readTopic<Reading>(brokers, topic, SCHEMA)).toHaveLength(100)
})

test('headers travel with the record', async () => {
  const topic = await newTopic()
  const producer = await producerOf(topic)
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  await producer.send({ id: 1, sensor: null, celsius: 1 }, { tenant: 'acme', traceparent })
  const [record] = await readTopic<Reading>(brokers, topic, SCHEMA)
  expect(record?.headers).toEqual({ 'millrace-tenant': 'acme', traceparent })
})

test('what cannot work is refused at the start', async () => {
  const topic = await newTopic()
  await expect(producerOf(uniqueName('nowhere'))).rejects.toMatchObject({ code: 'unknown_topic' })
  await expect(producerOf(topic, { type: 'record', name: 'Reading' })).rejects.toMatchObject({ code: 'invalid_schema' })

  await producerOf(topic)
  const incompatible = { ...SCHEMA, fields: [...SCHEMA.fields, { name: 'added', type: 'string' }] }
  await expect(producerOf(topic, incompatible)).rejects.toMatchObject({ code: 'incompatible_schema' })
})

test('an event of the sample comes out as it went in', async () => {
  const topic = await newTopic()
  const schema = JSON.parse(readFileSync('infra/sample/flights/event.avsc', 'utf8')) as AvroSchema
  const { value: producer, stop } = await startEventProducer<Record<string, unknown>>({
    kafka: kafkaConfig(settings),
    registry: registryConfig(settings),
    topic,
    schema,
    keyOf: ({ tailnum }) => (tailnum === null ? null : String(tailnum)),
  })
  onTestFinished(stop)
  const flight = {
    event_id: '20130101-UA-1545-EWR-0515',
    carrier: 'UA',
    flight: 1545,
    tailnum: 'N14228',
    origin: 'EWR',
    dest: 'IAH',
    scheduled_at: 1357035300000,
    departed_at: 1357035420000,
    dep_delay: 2,
    distance: 1400,
    plane_year: null,
    plane_seats: 149,
  }
  expect(await producer.send(flight)).toMatchObject({ requestId: null, offset: 0 })
  const [record] = await readTopic(brokers, topic, schema)
  expect({ ...(record?.value as object) }).toEqual(flight)
  expect(record?.key).toBe('N14228')
})
