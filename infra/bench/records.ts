/**
 * `npm run bench:records`: CPU per record of the record batch codec, next to the one of kafkajs in the same run. Batches
 * are 1,000 records like the flights sample's, key 6 bytes, value 150 bytes. The last line is one JSON object.
 */
import { createRequire } from 'node:module'
import type { Compression } from '../runtime/kafka/record-batches/codecs/compression.ts'
import type { RecordColumns } from '../runtime/kafka/record-batches/columns.ts'
import { decodeRecordSet } from '../runtime/kafka/record-batches/decode-record-set.ts'
import { encodeBatch } from '../runtime/kafka/record-batches/encode-batch.ts'
import { encodeHeaders } from '../runtime/kafka/record-batches/record-headers.ts'

const RECORDS = 1_000
const KEY_BYTES = 6
const VALUE_BYTES = 150
const ROUNDS = 9
/** A round lasts at least this long, so that the clock's steps do not matter. */
const ROUND_CPU_US = 60_000
const NOW = Date.UTC(2026, 0, 1)
const CODECS: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const PRODUCER = { id: 4_000n, epoch: 1, sequence: 0 }
const HEADERS = { 'millrace-tenant': Buffer.from('default'), traceparent: Buffer.from(`00-${'4b'.repeat(16)}-00-01`) }

interface NativeEncoder {
  readonly buffer: Buffer
}

const require = createRequire(import.meta.url)
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch(batch: object): Promise<NativeEncoder>
}
const nativeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => NativeEncoder
const nativeDecode = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (
  decoder: object,
) => Promise<{ readonly records: readonly unknown[] }>
const NativeDecoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => object

const records = flights()
const withHeaders: RecordColumns = { ...records, headers: sameHeaders() }
const messages = Array.from({ length: RECORDS }, (_, row) => ({
  key: records.keys.bytes.subarray(row * KEY_BYTES, (row + 1) * KEY_BYTES),
  value: records.values.bytes.subarray(row * VALUE_BYTES, (row + 1) * VALUE_BYTES),
}))

/** Fields as a flight has them: short strings that repeat, numbers that do not. */
function flights(): RecordColumns {
  let state = 1
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const keys = Buffer.alloc(RECORDS * KEY_BYTES)
  const values = Buffer.alloc(RECORDS * VALUE_BYTES)
  for (let row = 0; row < RECORDS; row++) {
    keys.write(`N${10_000 + random(3_500)}`, row * KEY_BYTES)
    const at = row * VALUE_BYTES
    const text = `2013-${1 + random(12)}-${1 + random(28)} UA ${random(6_000)} EWR ORD LGA ${random(2_400)} flight-${random(1e9)} `
    values.write(text, at)
    for (let field = at + text.length; field + 8 <= at + VALUE_BYTES; field += 8) {
      values.writeDoubleLE(random(2_000) / 4, field)
    }
  }
  return {
    length: RECORDS,
    timestamps: NOW,
    keys: column(keys, KEY_BYTES),
    values: column(values, VALUE_BYTES),
    headers: null,
  }
}

function column(bytes: Buffer, width: number) {
  return {
    bytes,
    starts: Int32Array.from({ length: RECORDS }, (_, row) => row * width),
    lengths: new Int32Array(RECORDS).fill(width),
  }
}

function sameHeaders() {
  const bytes = encodeHeaders(Object.entries(HEADERS).map(([key, value]) => ({ key, value })))
  return { bytes, starts: new Int32Array(RECORDS), lengths: new Int32Array(RECORDS).fill(bytes.length) }
}

const encodeOurs = (compression: Compression, columns = records) =>
  encodeBatch(columns, { producer: PRODUCER, compression })

const decodeOurs = (bytes: Buffer) =>
  decodeRecordSet(bytes, { from: 0, highWatermark: RECORDS, aborted: [], maxDecompressedBytes: 2 ** 26 })

/** What its Produce request does with the messages of a partition. */
async function encodeNative(compression: Compression, headers: object): Promise<Buffer> {
  const batch = await RecordBatch({
    compression: CODECS.indexOf(compression),
    firstTimestamp: NOW,
    maxTimestamp: NOW,
    lastOffsetDelta: RECORDS - 1,
    producerId: String(PRODUCER.id),
    producerEpoch: PRODUCER.epoch,
    firstSequence: PRODUCER.sequence,
    records: messages.map(({ key, value }, offsetDelta) =>
      nativeRecord({ offsetDelta, timestampDelta: 0, key, value, headers }),
    ),
  })
  return batch.buffer
}

interface Case {
  readonly name: string
  run(): unknown
  readonly perRecordUs: number[]
}

function cases(): readonly Case[] {
  const all: Case[] = []
  const add = (name: string, run: () => unknown): void => void all.push({ name, run, perRecordUs: [] })
  for (const compression of CODECS) {
    const batch = encodeOurs(compression)
    add(`encode ${compression} ours`, () => encodeOurs(compression))
    add(`decode ${compression} ours`, () => decodeOurs(batch))
    // the others of kafkajs are plug-ins
    if (compression !== 'none' && compression !== 'gzip') continue
    add(`encode ${compression} kafkajs`, () => encodeNative(compression, {}))
    add(`decode ${compression} kafkajs`, () => nativeDecode(new NativeDecoder(batch)))
  }
  const headed = encodeOurs('none', withHeaders)
  add('encode headers ours', () => encodeOurs('none', withHeaders))
  add('decode headers ours', () => decodeOurs(headed))
  add('encode headers kafkajs', () => encodeNative('none', HEADERS))
  add('decode headers kafkajs', () => nativeDecode(new NativeDecoder(headed)))
  return all
}

/** One round: as many batches as fill it; adds its µs of CPU per record, all threads counted. */
async function measure({ run, perRecordUs }: Case): Promise<void> {
  const before = process.cpuUsage()
  let batches = 0
  let us = 0
  while (us < ROUND_CPU_US) {
    for (let repeat = 0; repeat < 10; repeat++) await run()
    batches += 10
    const { user, system } = process.cpuUsage(before)
    us = user + system
  }
  perRecordUs.push(us / (batches * RECORDS))
}

const measured = cases()
for (const one of measured) await measure(one)
for (const one of measured) one.perRecordUs.length = 0
for (let round = 0; round < ROUNDS; round++) for (const one of measured) await measure(one)

const figures: Record<string, number> = {}
for (const { name, perRecordUs } of measured) {
  const sorted = perRecordUs.toSorted((a, b) => a - b)
  const median = sorted[Math.floor(ROUNDS / 2)] ?? Number.NaN
  figures[`${name.replaceAll(' ', '_')}_us`] = round(median)
  print(
    `${name.padEnd(24)} ${median.toFixed(3)} µs CPU per record (${sorted[0]?.toFixed(3)} to ${sorted.at(-1)?.toFixed(3)})`,
  )
}
for (const what of ['encode_none', 'decode_none', 'encode_gzip', 'decode_gzip', 'encode_headers', 'decode_headers']) {
  figures[`${what}_ratio`] = round(
    (figures[`${what}_kafkajs_us`] ?? Number.NaN) / (figures[`${what}_ours_us`] ?? Number.NaN),
  )
}
for (const compression of CODECS) figures[`batch_bytes_${compression}`] = encodeOurs(compression).length
print(
  JSON.stringify({
    bench: 'records',
    records: RECORDS,
    keyBytes: KEY_BYTES,
    valueBytes: VALUE_BYTES,
    node: process.version,
    ...figures,
  }),
)

function round(value: number): number {
  return Number(value.toFixed(3))
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
