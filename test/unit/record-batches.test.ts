import { compressSync } from 'snappy'
import { expect, test } from 'vitest'
import { RECORDS_AT } from '../../infra/runtime/kafka/record-batches/batch-header.ts'
import { crc32c } from '../../infra/runtime/kafka/record-batches/crc32c.ts'
import { decodeRecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { headerAt } from '../../infra/runtime/kafka/record-batches/record-headers.ts'
import {
  appended,
  CONTROL,
  columnsOf,
  LOG_APPEND_TIME,
  marker,
  type PlainRecord,
  plainRecords,
  rawBatch,
  rawRecord,
  sealed,
  TRANSACTIONAL,
} from '../support/record-columns.ts'

const LIMIT = 2 ** 20
const NOW = Date.UTC(2026, 0, 5)
const CODECS = ['gzip', 'snappy', 'lz4', 'zstd'] as const

function decode(bytes: Buffer, change: Partial<Parameters<typeof decodeRecordSet>[1]> = {}) {
  return decodeRecordSet(bytes, {
    from: 0,
    highWatermark: 1e6,
    aborted: null,
    maxDecompressedBytes: LIMIT,
    ...change,
  })
}

function record(value: string, timestamp = NOW): PlainRecord {
  return { timestamp, key: Buffer.from('key'), value: Buffer.from(value), headers: [] }
}

function batch(baseOffset: number, values: readonly string[], options: { producerId?: bigint } = {}): Buffer {
  const { producerId } = options
  const producer = producerId === undefined ? null : { id: producerId, epoch: 0, sequence: 0 }
  const columns = columnsOf(values.map((value) => record(value)))
  return appended(encodeBatch(columns, { producer, transactional: producer !== null }), baseOffset)
}

const valuesOf = (set: ReturnType<typeof decode>) => plainRecords(set).map(({ value }) => value?.toString())

test('the checksum is Castagnoli', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
})

test('a batch byte by byte', () => {
  const columns = columnsOf([
    { timestamp: NOW, key: Buffer.from('k'), value: Buffer.from('ab'), headers: [] },
    { timestamp: NOW - 1, key: null, value: null, headers: [{ key: 'h', value: null }] },
  ])
  const producer = { id: 7n, epoch: 3, sequence: 2 ** 31 - 1 }
  const encoded = encodeBatch(columns, { producer, transactional: true })
  const time = Buffer.alloc(8)
  time.writeBigInt64BE(BigInt(NOW))
  expect(encoded.subarray(RECORDS_AT).toString('hex')).toBe(
    [
      '12000000026b04616200', // length 9, attributes, +0 ms, +0, key of 1, value of 2, no headers
      '12000102010102026801', // length 9, −1 ms, +1, null, null, 1 header of null
    ].join(''),
  )
  expect(encoded.subarray(0, 17).toString('hex')).toBe('0000000000000000' + '00000045' + 'ffffffff' + '02')
  expect(encoded.subarray(21, RECORDS_AT).toString('hex')).toBe(
    [
      '0010',
      '00000001',
      time.toString('hex'),
      time.toString('hex'),
      '0000000000000007',
      '0003',
      '7fffffff',
      '00000002',
    ].join(''),
  )
})

test('rows of a range become a batch; what is not one is refused', () => {
  const columns = columnsOf(['a', 'b', 'c', 'd'].map((value) => record(value)))
  expect(valuesOf(decode(encodeBatch(columns, { producer: null, from: 1, to: 3 })))).toEqual(['b', 'c'])
  for (const [from, to] of [
    [2, 2],
    [-1, 1],
    [0, 5],
    [Number.NaN, 2],
  ] as const) {
    expect(() => encodeBatch(columns, { producer: null, from, to })).toThrow(RangeError)
  }
  for (const timestamp of [-2, 1.5, Number.NaN, 2 ** 53]) {
    expect(() => encodeBatch(columnsOf([record('a', timestamp)]), { producer: null })).toThrow(RangeError)
    expect(() => encodeBatch({ ...columns, timestamps: timestamp }, { producer: null })).toThrow(RangeError)
  }
})

test('batches one after another; what lies before the offset asked for is left out', () => {
  const bytes = Buffer.concat([batch(10, ['a', 'b', 'c']), batch(13, ['d']), batch(20, ['e', 'f'])])
  const set = decode(bytes, { from: 12 })
  expect([valuesOf(set), [...set.offsets], set.nextOffset]).toEqual([['c', 'd', 'e', 'f'], [12, 13, 20, 21], 22])
  expect(set.keys.bytes).toBe(bytes)
  expect(decode(Buffer.alloc(0), { from: 5 })).toMatchObject({ length: 0, nextOffset: 5, markers: [] })
})

test('compressed batches among others are read in their order', () => {
  const compressed = CODECS.map((compression, index) =>
    appended(encodeBatch(columnsOf([record(compression)]), { producer: null, compression }), 10 * index),
  )
  const bytes = Buffer.concat([...compressed, batch(50, ['plain'])])
  const set = decode(bytes)
  expect([valuesOf(set), [...set.offsets]]).toEqual([
    [...CODECS, 'plain'],
    [0, 10, 20, 30, 50],
  ])
})

test('log append time is the time of every record', () => {
  const encoded = Buffer.from(encodeBatch(columnsOf([record('a', 1), record('b', 2)]), { producer: null }))
  encoded.writeInt16BE(LOG_APPEND_TIME, 21)
  encoded.writeBigInt64BE(BigInt(NOW), 35)
  expect([...decode(sealed(encoded)).timestamps]).toEqual([NOW, NOW])
})

test('offsets that compaction left out, and batches that it emptied', () => {
  const records = Buffer.concat([rawRecord(0, 3, 1, 'a', -1, 0), rawRecord(5, 8, 1, 'b', 1, 'v', 0)])
  const bytes = Buffer.concat([
    rawBatch({ baseOffset: 100, lastOffsetDelta: 9, count: 2, records, baseTimestamp: 1_000 }),
    rawBatch({ baseOffset: 110, lastOffsetDelta: 4 }),
  ])
  const set = decode(bytes, { from: 100 })
  expect([[...set.offsets], [...set.timestamps], set.nextOffset]).toEqual([[103, 108], [1_000, 1_005], 115])
})

test('markers move the position and are no records', () => {
  const bytes = Buffer.concat([batch(0, ['a'], { producerId: 5n }), marker('commit', 1, 5n, 3), marker('abort', 2, 6n)])
  expect(decode(bytes)).toMatchObject({
    length: 1,
    nextOffset: 3,
    markers: [
      { kind: 'commit', offset: 1, producerId: 5n, producerEpoch: 3 },
      { kind: 'abort', offset: 2, producerId: 6n, producerEpoch: 0 },
    ],
  })
  expect(decode(bytes, { from: 2 }).markers).toHaveLength(1)
  const other = rawRecord(0, 0, 4, Buffer.from([0, 0, 0, 2]), 0, 0)
  const another = rawBatch({ attributes: CONTROL, count: 1, records: other })
  expect(decode(another)).toMatchObject({ length: 0, markers: [], nextOffset: 1 })
})

test('aborted transactions are left out under read_committed, what else their producers write is not', () => {
  const bytes = Buffer.concat([
    batch(0, ['kept 1'], { producerId: 5n }),
    marker('commit', 1, 5n),
    batch(2, ['gone 5'], { producerId: 5n }),
    batch(3, ['gone 6'], { producerId: 6n }),
    batch(4, ['kept 2']),
    marker('abort', 5, 5n),
    batch(6, ['kept 3'], { producerId: 5n }),
    batch(7, ['gone 6'], { producerId: 6n }),
    marker('commit', 8, 5n),
    marker('abort', 9, 6n),
    batch(10, ['gone 5'], { producerId: 5n }),
  ])
  const aborted = [
    { producerId: 5n, firstOffset: 10 },
    { producerId: 6n, firstOffset: 3 },
    { producerId: 5n, firstOffset: 2 },
  ]
  const set = decode(bytes, { aborted })
  expect([valuesOf(set), set.nextOffset, set.markers.length]).toEqual([['kept 1', 'kept 2', 'kept 3'], 11, 4])
  expect(valuesOf(decode(bytes)).filter((value) => value?.startsWith('gone'))).toHaveLength(4)
})

test('headers: any number of a name, null and empty values', () => {
  const headers = [
    { key: 'a', value: Buffer.from('1') },
    { key: 'b', value: null },
    { key: 'a', value: Buffer.from('2') },
    { key: 'ü', value: Buffer.alloc(0) },
  ]
  const set = decode(encodeBatch(columnsOf([{ ...record('v'), headers }, record('w')]), { producer: null }))
  expect(plainRecords(set).map((one) => one.headers)).toEqual([headers, []])
  const found = ['a', 'b', 'ü', 'c'].map((name) => headerAt(set, 0, Buffer.from(name)))
  expect(found).toEqual([Buffer.from('2'), null, Buffer.alloc(0), undefined])
  expect(headerAt(set, 1, Buffer.from('a'))).toBeUndefined()
})

test('Snappy framed in several blocks as Java clients write it, and bare as librdkafka does', () => {
  const content = Buffer.concat([rawRecord(0, 0, -1, 5, 'hello', 0), rawRecord(0, 1, -1, 5, 'world', 0)])
  const framed = (part: Buffer) => {
    const block = compressSync(part)
    const length = Buffer.alloc(4)
    length.writeInt32BE(block.length)
    return Buffer.concat([length, block])
  }
  const header = Buffer.from('82534e41505059000000000100000001', 'hex')
  const xerial = Buffer.concat([header, framed(content.subarray(0, 7)), framed(content.subarray(7))])
  for (const records of [xerial, compressSync(content)]) {
    expect(valuesOf(decode(rawBatch({ attributes: 2, count: 2, records })))).toEqual(['hello', 'world'])
  }
})

test('batches beyond the limit in all are left for the next fetch', () => {
  const half = columnsOf([{ ...record(''), value: Buffer.alloc(0.6 * LIMIT) }])
  const bytes = [0, 1, 2].map((offset) => appended(encodeBatch(half, { producer: null, compression: 'lz4' }), offset))
  expect(decode(Buffer.concat(bytes))).toMatchObject({ length: 2, nextOffset: 2 })
})

test('limits that cannot hold are refused', () => {
  for (const maxDecompressedBytes of [0, Number.NaN, 2 ** 29]) {
    expect(() => decode(Buffer.alloc(0), { maxDecompressedBytes })).toThrow(RangeError)
  }
})

test('transactional batches of one producer among those of another that aborted', () => {
  const aborting = rawBatch({
    attributes: TRANSACTIONAL,
    producerId: 2n ** 62n,
    count: 1,
    records: rawRecord(0, 0, -1, -1, 0),
  })
  const bytes = Buffer.concat([aborting, batch(1, ['kept'], { producerId: 2n ** 62n + 1n })])
  expect(valuesOf(decode(bytes, { aborted: [{ producerId: 2n ** 62n, firstOffset: 0 }] }))).toEqual(['kept'])
})
