import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import type { Compression } from '../../infra/runtime/kafka/record-batches/codecs/compression.ts'
import { decodeRecordSet, type RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { runClient } from '../support/python.ts'
import { columnsOf, type PlainRecord, plainRecords } from '../support/record-columns.ts'
import { type RecordRequests, recordRequests } from '../support/record-requests.ts'
import { uniqueName } from '../support/unique-name.ts'

// Our record batches against the broker and librdkafka, both ways.

const { env } = inject('stack')
const CODECS: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const DEADLINE_MS = 60_000
const PER_BATCH = 50
const FETCH_BYTES = 2 ** 20
const CORRUPT_MESSAGE = 2
const OUT_OF_ORDER_SEQUENCE = 45

let admin: KafkaAdmin
let requests: RecordRequests
const stops: (() => Promise<void>)[] = []

beforeAll(async () => {
  const client = createKafkaClient(kafkaConfig(readConfig(CONNECTIONS, env)), 'test', silentLogger)
  const started = await startKafkaAdmin(client)
  admin = started.value
  requests = await recordRequests(env)
  stops.push(started.stop, requests.stop)
})
afterAll(async () => {
  for (const stop of stops) await stop()
})

async function newTopic(config: Readonly<Record<string, string>> = {}): Promise<string> {
  const name = uniqueName('batches')
  // records of any age stay
  const topic = { name, partitions: 1, replicas: 1, config: { 'retention.ms': '-1', ...config } }
  // a broker that has just started knows a new topic here before it knows it there
  await eventually(() => admin.createTopic(topic), { deadlineMs: DEADLINE_MS })
  await eventually(() => admin.ranges(name), { deadlineMs: DEADLINE_MS })
  return name
}

function records(from: number): readonly PlainRecord[] {
  return Array.from({ length: PER_BATCH }, (_, index) => ({
    timestamp: 1_700_000_000_000 + (index % 3) * 4_000_000_000,
    key: index % 4 === 3 ? null : Buffer.from(`key-${from + index}`),
    value: index % 7 === 6 ? null : Buffer.from(`${from + index} ${'a value that repeats itself '.repeat(8)}`),
    headers:
      index % 3 === 0
        ? [
            { key: 'tenant', value: Buffer.from([0xff, 0]) },
            { key: 'null', value: null },
            { key: 'tenant', value: Buffer.alloc(0) },
          ]
        : [],
  }))
}

/** A record as the Python client prints it. */
const printed = ({ timestamp, key, value, headers }: PlainRecord) => ({
  timestamp,
  key: key?.toString('hex') ?? null,
  value: value?.toString('hex') ?? null,
  headers: headers.map((header) => [header.key, header.value?.toString('hex') ?? null]),
})
const printedSet = (set: RecordSet) =>
  plainRecords(set).map(({ offset, ...record }) => ({ offset, ...printed(record) }))
const python = async (mode: 'read' | 'write', topic: string) =>
  JSON.parse(await runClient('record_batches.py', [mode, topic], env))

/** Everything in the topic, fetch by fetch as a consumer does. */
async function readAll(topic: string, isolation: 'read_committed' | 'read_uncommitted', maxBytes = FETCH_BYTES) {
  const sets: RecordSet[] = []
  const codecs = new Set<number>()
  let from = 0
  for (;;) {
    const answer = await requests.fetch(topic, from, isolation, maxBytes)
    const { aborted, highWatermark } = answer
    const set = decodeRecordSet(answer.records, {
      from,
      highWatermark,
      aborted: isolation === 'read_committed' ? aborted : null,
      maxDecompressedBytes: 2 ** 26,
    })
    for (let at = 0; at + 61 <= answer.records.length; at += 12 + answer.records.readInt32BE(at + 8)) {
      codecs.add(answer.records.readInt16BE(at + 21) & 7)
    }
    sets.push(set)
    if (set.nextOffset === from) throw new Error(`no progress at offset ${from} of ${highWatermark}`)
    from = set.nextOffset
    if (from === highWatermark) break
  }
  return { records: sets.flatMap(printedSet), markers: sets.flatMap(({ markers }) => markers), sets, codecs }
}

test('the broker takes what is encoded, once, and librdkafka reads it: every codec', async () => {
  const topic = await newTopic()
  const id = await eventually(() => requests.newProducerId(), { deadlineMs: DEADLINE_MS })
  const written: object[] = []
  for (const [index, compression] of CODECS.entries()) {
    const sequence = index * PER_BATCH
    const batch = encodeBatch(columnsOf(records(sequence)), { producer: { id, epoch: 0, sequence }, compression })
    expect(await requests.produce(topic, batch), compression).toEqual([0, sequence])
    expect(await requests.produce(topic, batch), `${compression} again`).toEqual([0, sequence])
    written.push(...records(sequence).map((record, row) => ({ offset: sequence + row, ...printed(record) })))
  }
  expect(await python('read', topic)).toEqual(written)
  const read = await readAll(topic, 'read_committed')
  expect(read.records).toEqual(written)
  expect([...read.codecs]).toEqual([0, 1, 2, 3, 4])

  const gap = { id, epoch: 0, sequence: CODECS.length * PER_BATCH + 1 }
  expect((await requests.produce(topic, encodeBatch(columnsOf(records(0)), { producer: gap })))[0]).toBe(
    OUT_OF_ORDER_SEQUENCE,
  )
  const damaged = encodeBatch(columnsOf(records(0)), { producer: null })
  damaged[damaged.length - 1] = 1
  expect((await requests.produce(topic, damaged))[0]).toBe(CORRUPT_MESSAGE)
})

test('log append time: the time of the broker, for us as for librdkafka', async () => {
  const topic = await newTopic({ 'message.timestamp.type': 'LogAppendTime' })
  const since = Date.now()
  for (const compression of CODECS) {
    const batch = encodeBatch(columnsOf(records(0)), { producer: null, compression })
    expect((await requests.produce(topic, batch))[0]).toBe(0)
  }
  const { records: read, sets } = await readAll(topic, 'read_committed')
  expect(read).toEqual(await python('read', topic))
  expect(read).toHaveLength(CODECS.length * PER_BATCH)
  for (const set of sets) expect(set.timestamps.every((time) => time >= since && time <= Date.now())).toBe(true)
})

test('what librdkafka writes is read: every codec, committed and aborted transactions', async () => {
  const topic = await newTopic()
  const { written, aborted } = await python('write', topic)
  const ends = ['commit', 'abort', 'commit', 'abort', 'abort', 'commit']
  // a commit is answered before its marker is in the log
  const committed = await eventually(
    async () => {
      const all = await readAll(topic, 'read_committed')
      expect(all.markers.map(({ kind }) => kind)).toEqual(ends)
      return all
    },
    { deadlineMs: DEADLINE_MS },
  )
  expect(committed.records.map(({ offset: _, ...record }) => record)).toEqual(written)
  expect(committed.records).toEqual(await python('read', topic))
  expect([...committed.codecs].toSorted()).toEqual([0, 1, 2, 3, 4])
  const everything = await readAll(topic, 'read_uncommitted')
  expect(everything.records).toHaveLength(written.length + aborted.length)
  expect(everything.markers).toEqual(committed.markers)
})

test('a fetch that cuts batches off goes on where they begin', async () => {
  const topic = await newTopic()
  for (let batch = 0; batch < 12; batch++) {
    const compression = CODECS[batch % CODECS.length] as Compression
    await requests.produce(topic, encodeBatch(columnsOf(records(batch * PER_BATCH)), { producer: null, compression }))
  }
  const whole = await readAll(topic, 'read_committed')
  expect(whole.sets).toHaveLength(1)
  for (const maxBytes of [1, 1_000, 13_337, 20_000]) {
    const pieces = await readAll(topic, 'read_committed', maxBytes)
    expect(pieces.sets.length, `${maxBytes}`).toBeGreaterThan(1)
    expect(pieces.records).toEqual(whole.records)
  }
})
