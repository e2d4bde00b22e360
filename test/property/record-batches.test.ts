import { createRequire } from 'node:module'
import fc from 'fast-check'
import kafkajs from 'kafkajs'
import { expect, test } from 'vitest'
import { type Compression, compress, decompress } from '../../infra/runtime/kafka/record-batches/codecs/compression.ts'
import { decodeRecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { appended, columnsOf, type PlainRecord, plainRecords } from '../support/record-columns.ts'

const MAX_BYTES = 2 ** 26
const COMPRESSIONS: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

const bytes = fc
  .oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.uint8Array({ minLength: 60, maxLength: 70 }),
    fc.nat(20_000).map((length) => new Uint8Array(length)),
  )
  .map((array) => Buffer.from(array))
const nullable = fc.option(bytes, { freq: 4 })
const timestamp = fc.oneof(
  fc.integer({ min: -1, max: 2 ** 31 }),
  fc.integer({ min: 1_700_000_000_000, max: 1_700_000_100_000 }),
  fc.nat(Number.MAX_SAFE_INTEGER),
)
const header = fc.record({ key: fc.string({ unit: 'grapheme', maxLength: 12 }), value: nullable })
const record: fc.Arbitrary<PlainRecord> = fc.record({
  timestamp,
  key: nullable,
  value: nullable,
  headers: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(header, { maxLength: 5 })),
})
const records = fc.array(record, { minLength: 1, maxLength: 80 })
const producer = fc.option(
  fc.record({
    id: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    epoch: fc.integer({ min: 0, max: 32_767 }),
    sequence: fc.nat(2 ** 31 - 1),
  }),
)
const offset = fc.oneof(fc.nat(1_000), fc.nat(Number.MAX_SAFE_INTEGER - 1_000))

const decode = (set: Buffer, from = 0) =>
  decodeRecordSet(set, { from, highWatermark: Number.MAX_SAFE_INTEGER, aborted: [], maxDecompressedBytes: MAX_BYTES })

test.each(COMPRESSIONS)('what is encoded comes back: %s', (compression) => {
  fc.assert(
    fc.property(records, producer, offset, fc.boolean(), (written, writer, base, transactional) => {
      const batch = encodeBatch(columnsOf(written), { producer: writer, transactional, compression })
      const set = decode(appended(batch, base), base)
      expect(plainRecords(set)).toEqual(written.map((one, index) => ({ ...one, offset: base + index })))
      expect([set.nextOffset, set.markers]).toEqual([base + written.length, []])
      expect(encodeBatch(set, { producer: writer, transactional, compression })).toEqual(batch)
    }),
    { numRuns: 100 },
  )
})

test('of a record set cut anywhere the whole batches come', () => {
  const batch = fc.tuple(fc.array(record, { minLength: 1, maxLength: 3 }), fc.constantFrom(...COMPRESSIONS))
  fc.assert(
    fc.property(fc.array(batch, { minLength: 1, maxLength: 4 }), fc.nat(), (batches, cut) => {
      let next = 0
      const encoded = batches.map(([written, compression]) => {
        next += written.length
        return appended(encodeBatch(columnsOf(written), { producer: null, compression }), next - written.length)
      })
      const whole = Buffer.concat(encoded)
      const length = cut % (whole.length + 1)
      const ends = encoded.map((_, index) => Buffer.concat(encoded.slice(0, index + 1)).length)
      const expected = batches.slice(0, ends.filter((end) => end <= length).length).flatMap(([written]) => written)
      const set = decode(Buffer.from(whole.subarray(0, length)))
      expect(plainRecords(set).map(({ offset: _, ...rest }) => rest)).toEqual(expected)
      expect(set.nextOffset).toBe(expected.length)
    }),
    { numRuns: 300 },
  )
})

// kafkajs has its own gzip; the other codecs are given to it, the layout is its own

const require = createRequire(import.meta.url)
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch(batch: object): Promise<{ readonly buffer: Buffer }>
}
const nativeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => unknown
const nativeDecode = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (decoder: object) => Promise<NativeBatch>
const Decoder = require('kafkajs/src/protocol/decoder') as new (set: Buffer) => object

interface NativeBatch {
  readonly inTransaction: boolean
  readonly producerId: string
  readonly producerEpoch: number
  readonly firstSequence: number
  readonly records: readonly {
    readonly offset: string
    readonly timestamp: string
    readonly key: Buffer | null
    readonly value: Buffer | null
    readonly headers: Readonly<Record<string, Buffer | null | (Buffer | null)[]>>
  }[]
}

type NativeCodec = () => {
  compress(encoder: { readonly buffer: Buffer }): Promise<Buffer>
  decompress(content: Buffer): Promise<Buffer>
}
const nativeCodecs = kafkajs.CompressionCodecs as unknown as Record<number, NativeCodec>
for (const number of [2, 3, 4]) {
  nativeCodecs[number] = () => ({
    compress: async ({ buffer }) => compress(number, buffer),
    decompress: async (content) => decompress(number, content, MAX_BYTES),
  })
}

/** kafkajs holds headers in an object: one of each name, none that an object takes for its own. */
function withNativeHeaders(one: PlainRecord): PlainRecord {
  const named = one.headers.map(({ key, value }) => [`_${key}`, value] as const)
  return { ...one, headers: [...new Map(named)].map(([key, value]) => ({ key, value })) }
}
const nativeRecords = records.map((list) => list.map(withNativeHeaders))
const headersObject = ({ headers }: PlainRecord) => Object.fromEntries(headers.map(({ key, value }) => [key, value]))

test.each(COMPRESSIONS)('kafkajs reads what is encoded: %s', async (compression) => {
  await fc.assert(
    fc.asyncProperty(nativeRecords, producer, fc.boolean(), async (written, writer, transactional) => {
      const encoded = encodeBatch(columnsOf(written), { producer: writer, transactional, compression })
      const batch = await nativeDecode(new Decoder(encoded))
      expect(batch).toMatchObject({
        inTransaction: transactional,
        producerId: String(writer?.id ?? -1),
        producerEpoch: writer?.epoch ?? -1,
        firstSequence: writer?.sequence ?? -1,
      })
      const read = batch.records.map(({ offset, timestamp, key, value, headers }) => [
        offset,
        timestamp,
        key,
        value,
        headers,
      ])
      expect(read).toEqual(
        written.map((one, index) => [`${index}`, `${one.timestamp}`, one.key, one.value, headersObject(one)]),
      )
    }),
    { numRuns: 60 },
  )
})

/** It cannot write a null header. */
const withoutNullHeaders = (one: PlainRecord): PlainRecord => ({
  ...one,
  headers: one.headers.map(({ key, value }) => ({ key, value: value ?? Buffer.alloc(0) })),
})

test.each(COMPRESSIONS)('what kafkajs encodes is read, and is the same bytes: %s', async (compression) => {
  await fc.assert(
    fc.asyncProperty(nativeRecords, producer, fc.boolean(), async (list, writer, transactional) => {
      const written = list.map(withoutNullHeaders)
      const firstTimestamp = written[0]?.timestamp ?? 0
      const native = await RecordBatch({
        compression: COMPRESSIONS.indexOf(compression),
        partitionLeaderEpoch: -1,
        firstTimestamp,
        maxTimestamp: Math.max(...written.map(({ timestamp }) => timestamp)),
        lastOffsetDelta: written.length - 1,
        transactional,
        producerId: String(writer?.id ?? -1),
        producerEpoch: writer?.epoch ?? -1,
        firstSequence: writer?.sequence ?? -1,
        records: written.map((one, offsetDelta) =>
          nativeRecord({
            offsetDelta,
            timestampDelta: one.timestamp - firstTimestamp,
            key: one.key,
            value: one.value,
            headers: headersObject(one),
          }),
        ),
      })
      expect(plainRecords(decode(native.buffer))).toEqual(written.map((one, index) => ({ ...one, offset: index })))
      // its gzip has another level
      if (compression !== 'gzip') {
        expect(native.buffer).toEqual(encodeBatch(columnsOf(written), { producer: writer, transactional, compression }))
      }
    }),
    { numRuns: 60 },
  )
})
