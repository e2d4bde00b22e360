import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { compress } from '../../infra/runtime/kafka/record-batches/codecs/compression.ts'
import { decodeRecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { RecordsError } from '../../infra/runtime/kafka/record-batches/errors.ts'
import { appended, CONTROL, columnsOf, type RawBatch, rawBatch, rawRecord, varint } from '../support/record-columns.ts'

const MIB = 2 ** 20
const LOG_END = 1e6
const CODECS = ['gzip', 'snappy', 'lz4', 'zstd'] as const

function decode(bytes: Buffer, maxDecompressedBytes = MIB) {
  return decodeRecordSet(bytes, { from: 0, highWatermark: LOG_END, aborted: null, maxDecompressedBytes })
}

function errorOf(run: () => unknown): RecordsError {
  try {
    run()
  } catch (error) {
    if (error instanceof RecordsError) return error
    throw error
  }
  throw new Error('an error is expected')
}

const good = (offset: number) => appended(rawBatch({ count: 1, records: rawRecord(0, 0, 1, 'k', 1, 'v', 0) }), offset)
/** One record after another, each by its fields after the attributes. */
const records = (...each: readonly (readonly (number | string | Buffer)[])[]) =>
  Buffer.concat(each.map((fields) => rawRecord(...fields)))
const hex = (text: string) => Buffer.from(text, 'hex')
const bytes = (length: number, fill = 0) => Buffer.alloc(length, fill)

const HEADER: readonly (readonly [name: string, batch: RawBatch, message: string])[] = [
  ['a length that is negative', { length: -1 }, 'its length is -1'],
  ['a length below the header', { length: 48 }, 'its length is 48'],
  ['an offset below zero', { baseOffset: -5 }, 'its last offset'],
  ['an offset no double holds', { baseOffset: 2 ** 60 }, 'its last offset'],
  ['a last offset below the first', { lastOffsetDelta: -1 }, 'its last offset'],
  ['a negative count', { count: -1 }, '-1 records'],
  ['more records than offsets', { count: 3, lastOffsetDelta: 1 }, '3 records in 2 offsets'],
  ['a count beyond the bytes', { count: 500_000, records: bytes(100) }, '500000 records in 100 bytes'],
  [
    'Snappy beyond the batch',
    { attributes: 2, records: hex('82534e4150505900000000010000000100000fff00') },
    'is longer',
  ],
  ['Snappy cut off', { attributes: 2, records: hex('82534e4150505900000000010000000100') }, 'is cut off'],
  ['Snappy without a length', { attributes: 2, records: bytes(6, 0xff) }, 'without a length'],
  ['Snappy of other length', { attributes: 2, records: hex('0a0061') }, 'snappy: '],
  ['no LZ4 frame', { attributes: 3, records: bytes(20) }, 'no LZ4 frame'],
  ['LZ4 without its end', { attributes: 3, records: compress(3, bytes(99)).subarray(0, -4) }, 'without its end'],
  ['gzip that is cut off', { attributes: 1, records: gzipSync(bytes(99)).subarray(0, -9) }, 'gzip: unexpected end'],
  ['no zstd', { attributes: 4, records: bytes(20, 1) }, 'zstd: '],
]

const RECORDS: readonly (readonly [name: string, records: Buffer, message: string, count?: number])[] = [
  ['fewer records than counted', Buffer.concat([records([0, 0, -1, -1, 0]), bytes(9, 0xff)]), 'a varint is longer', 2],
  ['more bytes than records', Buffer.concat([records([0, 0, -1, -1, 0]), bytes(3)]), '3 bytes after its last'],
  ['a record beyond the batch', Buffer.concat([varint(2 ** 30), bytes(9)]), 'a record of 1073741824'],
  ['a record of negative length', Buffer.concat([varint(-3), bytes(9)]), 'a record of -3'],
  ['a varint without an end', bytes(12, 0xff), 'longer than 32 bits'],
  ['a varint of more than 32 bits', hex('ffffffff100000000000'), 'longer than 32 bits'],
  ['a varlong without an end', records([bytes(12, 0xff)]), 'longer than 64 bits'],
  ['a varlong of more than 64 bits', records([hex('ffffffffffffffffff02')]), 'longer than 64 bits'],
  ['a varlong beyond the buffer', records([bytes(6, 0xff)]), 'longer than 64 bits'],
  ['a key of negative length', records([0, 0, -2, -1, 0]), 'a key of length -2'],
  ['a key beyond the record', records([0, 0, 2 ** 31 - 1, -1, 0]), 'a key of length 2147483647'],
  ['a value of negative length', records([0, 0, -1, -7, 0]), 'a value of length -7'],
  ['a value beyond the record', records([0, 0, -1, 100, 0]), 'a value of length 100'],
  ['no headers field', records([0, 0, -1, 2, 'ab']), 'before its headers'],
  ['bytes to spare', records([0, 0, -1, -1, 0, 'spare']), '5 bytes after the fields'],
  ['headers beyond the bytes', records([0, 0, -1, -1, 2 ** 30]), '1073741824 headers'],
  ['a negative number of headers', records([0, 0, -1, -1, -1]), '-1 headers'],
  ['a header with a null key', records([0, 0, -1, -1, 1, -1, -1]), 'the key of a header'],
  ['a header of negative length', records([0, 0, -1, -1, 1, 0, -2]), 'the value of a header'],
  ['a header key beyond the record', records([0, 0, -1, -1, 1, 99, -1]), 'the key of a header has length 99'],
  ['a header beyond the record', records([0, 0, -1, -1, 1, 0, 99]), 'the value of a header has length 99'],
  ['an offset twice', records([0, 0, -1, -1, 0], [0, 0, -1, -1, 0]), 'offset +0 after +0', 2],
  ['a negative offset', records([0, -1, -1, -1, 0]), 'offset +-1'],
  ['an offset above the last', records([0, 1, -1, -1, 0]), 'offset +1'],
]

const BROKEN = [
  ...HEADER.map(([name, batch, message]) => [name, { count: 1, ...batch }, message] as const),
  ...RECORDS.map(([name, content, message, count = 1]) => [name, { count, records: content }, message] as const),
  ['no control type', { attributes: CONTROL, count: 1, records: records([0, 0, 2, 'ab', -1, 0]) }, 'without a type'],
] as const

test("what reaches above the log's end is left for the next fetch", () => {
  const above = appended(
    rawBatch({ count: 1, lastOffsetDelta: LOG_END - 1, records: rawRecord(0, 0, 1, 'k', 1, 'v', 0) }),
    1,
  )
  expect([decode(above).length, decode(above).nextOffset]).toEqual([0, 0])
  const set = decode(Buffer.concat([good(0), above, good(LOG_END + 1)]))
  expect([set.length, set.nextOffset]).toEqual([1, 1])
})

test.each(BROKEN)('%s: an error that names the offset', (_, batch: RawBatch, message) => {
  const raw = rawBatch(batch)
  const error = errorOf(() => decode(Buffer.concat([good(4), batch.baseOffset === undefined ? appended(raw, 5) : raw])))
  expect(error).toMatchObject({ code: 'corrupt_records', offset: 5, fate: 'crash' })
  expect(error.message).toMatch(/^record batch at offset 5: /)
  expect(error.message).toContain(message)
})

test('the content of a compressed batch is checked as well', () => {
  for (const [index, compression] of CODECS.entries()) {
    const content = compress(index + 1, records([0, 0, -1, 100, 0]))
    const batch = appended(rawBatch({ attributes: index + 1, count: 1, records: content }), 7)
    expect(errorOf(() => decode(Buffer.concat([good(4), batch]))).message, compression).toContain(
      'a value of length 100',
    )
  }
})

test('a changed bit, an overlap, an old format and an unknown codec are errors', () => {
  const flipped = Buffer.from(good(5))
  flipped[flipped.length - 1] = 1
  expect(errorOf(() => decode(flipped)).message).toContain('its checksum is')
  expect(errorOf(() => decode(Buffer.concat([good(5), good(5)]))).message).toContain(
    'the batch before it ends at offset 5',
  )
  for (const batch of [{ magic: 1 }, { count: 1, attributes: 5, records: bytes(9) }]) {
    const error = errorOf(() => decode(rawBatch({ baseOffset: 5, ...batch })))
    expect(error).toMatchObject({ code: 'unsupported_records', offset: 5 })
  }
})

test.each(CODECS)('%s does not decompress beyond the limit', (compression) => {
  const zeros = columnsOf([{ timestamp: 0, key: null, value: bytes(16 * MIB), headers: [] }])
  const bomb = appended(encodeBatch(zeros, { producer: null, compression }), 9)
  expect(bomb.length).toBeLessThan(MIB)
  expect(errorOf(() => decode(bomb))).toMatchObject({ code: 'records_too_large', offset: 9 })
  expect(decode(bomb, 17 * MIB).length).toBe(1)
})
