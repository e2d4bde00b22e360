import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { RecordsRefusedError } from '../../infra/runtime/kafka/producer/produce-answers.ts'
import type { OutgoingRecord, RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { type LanesOnKafka, lanesOn } from '../support/lanes-on-kafka.ts'
import { uniqueName } from '../support/unique-name.ts'

// The writer of events, reports and replays, on a real broker.

const config = kafkaConfig(readConfig(CONNECTIONS, inject('stack').env))
const DEADLINE_MS = 60_000

let kafka: LanesOnKafka
let writer: Started<RecordWriter>
beforeAll(async () => {
  kafka = await lanesOn(config.brokers)
  writer = createIdempotentWriter({ connections: kafka.connections, clock: systemClock, logger: silentLogger })
})
afterAll(async () => {
  await writer?.stop()
  await kafka?.stop()
})

async function newTopic(settings: Readonly<Record<string, string>> = {}): Promise<string> {
  const name = uniqueName('written')
  await eventually(() => kafka.admin.createTopic({ name, partitions: 2, replicas: 1, config: settings }), {
    deadlineMs: DEADLINE_MS,
  })
  await eventually(() => kafka.admin.ranges(name), { deadlineMs: DEADLINE_MS })
  return name
}

const record = (key: string | null, value: Buffer | string): OutgoingRecord => ({
  key: key === null ? null : Buffer.from(key),
  value: Buffer.from(value),
})

test('batches of several partitions are written at once, and say where they are', async () => {
  const topic = await newTopic()
  const batches = [0, 1].map((partition) => ({ topic, partition, records: [record('k', 'a'), record('k', 'b')] }))
  expect(await writer.value.write(batches)).toEqual([
    { topic, partition: 0, baseOffset: 0, appendedAt: expect.any(Number) },
    { topic, partition: 1, baseOffset: 0, appendedAt: expect.any(Number) },
  ])
  expect(await writer.value.write([{ topic, partition: 0, records: [] }])).toEqual([])
})

test('records that the topic does not take are named by their index, and the next batch goes on', async () => {
  const topic = await newTopic({ 'cleanup.policy': 'compact' })
  const refused = await writer.value
    .write([{ topic, partition: 0, records: [record('k', 'a'), record(null, 'b'), record(null, 'c')] }])
    .catch((error: unknown) => error)
  if (!(refused instanceof RecordsRefusedError)) throw refused
  expect(refused).toMatchObject({ fate: 'reject', code: 'invalid_record' })
  expect([...refused.records.keys()]).toEqual([1, 2])
  const [written] = await writer.value.write([{ topic, partition: 0, records: [record('k', 'a')] }])
  expect(written?.baseOffset).toBe(0)
})

test('a batch that is too large is refused, with what stands behind it if anything does', async () => {
  const topic = await newTopic({ 'max.message.bytes': '2000' })
  const write = (value: Buffer | string) => writer.value.write([{ topic, partition: 0, records: [record('k', value)] }])
  await write('a')
  await expect(write(randomBytes(5_000))).rejects.toMatchObject({ fate: 'reject', code: 'record_too_large' })
  const [large, ...behind] = await Promise.allSettled([write(randomBytes(5_000)), write('b'), write('c')])
  expect(large).toMatchObject({ status: 'rejected', reason: { code: 'record_too_large' } })
  expect(behind.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  await write('d')
})

test('a topic that does not exist is refused', async () => {
  const missing = writer.value.write([{ topic: uniqueName('nowhere'), partition: 0, records: [record('k', 'a')] }])
  await expect(missing).rejects.toMatchObject({ fate: 'crash', code: 'unknown_topic' })
})

test('what a stopped writer was still sending is rejected', async () => {
  const topic = await newTopic()
  const own = await lanesOn(config.brokers)
  const stopping = createIdempotentWriter({ connections: own.connections, clock: systemClock, logger: silentLogger })
  await stopping.value.write([{ topic, partition: 0, records: [record('k', 'a')] }])
  const written = stopping.value.write([{ topic, partition: 0, records: [record('k', 'b')] }])
  await stopping.stop()
  await expect(written).rejects.toMatchObject({ fate: 'retry', code: 'producer_stopped' })
  await own.stop()
})
