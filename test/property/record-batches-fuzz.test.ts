import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compress } from '../../infra/runtime/kafka/record-batches/codecs/compression.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { decodeRecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { RecordsError } from '../../infra/runtime/kafka/record-batches/errors.ts'
import { headersAt } from '../../infra/runtime/kafka/record-batches/record-headers.ts'
import { appended, columnsOf, marker, type PlainRecord, sealed } from '../support/record-columns.ts'

// Valid record sets, damaged: each must give an error or a decode that lies within its bytes.

const COMPRESSIONS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const
const FROM = 100
const HIGH_WATERMARK = 10_000
const MAX_BYTES = 2 ** 20
const CODES = ['corrupt_records', 'records_too_large', 'unsupported_records']

function records(count: number): readonly PlainRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp: 1_700_000_000_000 + index * 90_000_000,
    key: index % 3 === 0 ? null : Buffer.from(`key-${index}`),
    value: index % 5 === 4 ? null : Buffer.alloc(index * 7, `value ${index} `),
    headers: index % 4 === 0 ? [] : [{ key: `h${index}`, value: index % 2 === 0 ? null : Buffer.from('x') }],
  }))
}

const producer = { id: 9n, epoch: 1, sequence: 5 }
const transaction = (offset: number) =>
  appended(encodeBatch(columnsOf(records(3)), { producer, transactional: true }), offset)
const batches = COMPRESSIONS.map((compression) => encodeBatch(columnsOf(records(12)), { producer: null, compression }))
const plain = batches[0] as Buffer
const content = plain.subarray(61)

/** Changes of a few bytes: to any, to one that lengths and varints turn on, or by taking bytes away or putting some in. */
const change = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  kind: fc.constantFrom('set', 'set', 'set', 'remove', 'insert', 'cut'),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 5 }),
    fc.constantFrom(
      [0x00],
      [0x7f],
      [0x80],
      [0xff],
      [1],
      [0xff, 0xff, 0xff, 0xff, 0x0f],
      new Array<number>(10).fill(0xff),
    ),
  ),
})
const changes = fc.array(change, { minLength: 1, maxLength: 4 })
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never

function changed(source: Buffer, list: readonly Change[], from: number): Buffer {
  let bytes = Buffer.from(source)
  for (const { at, kind, bytes: put } of list) {
    const position = Math.min(bytes.length, from + Math.floor(at * Math.max(0, bytes.length - from)))
    const after = kind === 'cut' ? bytes.length : position + (kind === 'insert' ? 0 : put.length)
    const middle = kind === 'set' || kind === 'insert' ? Buffer.from(put) : Buffer.alloc(0)
    bytes = Buffer.concat([bytes.subarray(0, position), middle, bytes.subarray(after)])
  }
  return bytes
}

/** Length and checksum as they should be, so that what is wrong lies deeper. */
function repaired(batch: Buffer): Buffer {
  const copy = Buffer.from(batch)
  if (copy.length >= 61) copy.writeInt32BE(copy.length - 12, 8)
  return sealed(copy)
}

let decoded = 0
let refused = 0

/** Decodes; all that may be wrong with the result is that it is an error of ours. */
function check(bytes: Buffer): void {
  const aborted = [{ producerId: 9n, firstOffset: 150 }]
  try {
    const set = decodeRecordSet(bytes, {
      from: FROM,
      highWatermark: HIGH_WATERMARK,
      aborted,
      maxDecompressedBytes: MAX_BYTES,
    })
    let last = FROM - 1
    for (let row = 0; row < set.length; row++) {
      const offset = set.offsets[row] as number
      if (!(offset > last && offset < set.nextOffset)) throw new Error(`offset ${offset} after ${last}`)
      last = offset
      for (const slices of [set.keys, set.values, set.headers]) {
        const length = slices.lengths[row] as number
        const end = (slices.starts[row] as number) + length
        if (length < -1 || end > slices.bytes.length) throw new Error(`row ${row} ends at ${end}`)
        if ((sliceAt(slices, row)?.length ?? -1) !== length) throw new Error(`row ${row} is not ${length} bytes`)
      }
      headersAt(set, row)
    }
    if (set.nextOffset < FROM || set.nextOffset > HIGH_WATERMARK) throw new Error(`next offset ${set.nextOffset}`)
    decoded++
  } catch (error) {
    if (!(error instanceof RecordsError && CODES.includes(error.code) && Number.isSafeInteger(error.offset)))
      throw error
    if (!error.message.includes(`offset ${error.offset}`)) throw error
    refused++
  }
}

function fuzz(arbitrary: fc.Arbitrary<Buffer>, numRuns: number): void {
  decoded = 0
  refused = 0
  fc.assert(fc.property(arbitrary, check), { numRuns })
  // neither all nor nothing gets through, or the changes are beside the point
  expect([decoded + refused >= numRuns, refused > numRuns / 10, decoded > 0]).toEqual([true, true, true])
}

const set = Buffer.concat([
  appended(plain, 95),
  ...batches.slice(1).map((batch, index) => appended(batch, 110 + 12 * index)),
  transaction(160),
  marker('abort', 163, 9n),
  transaction(170),
  marker('commit', 173, 9n),
])

test('record sets changed anywhere', () => {
  fuzz(
    changes.map((list) => changed(set, list, 0)),
    4_000,
  )
})

test('record sets cut off anywhere, and repeated', () => {
  const shift = fc.tuple(fc.nat(set.length), fc.nat(set.length))
  fuzz(
    shift.map(([start, end]) => Buffer.concat([set.subarray(start % 200), set.subarray(0, end)])),
    2_000,
  )
})

test.each(COMPRESSIONS)('batches changed behind a right checksum: %s', (compression) => {
  const batch = appended(batches[COMPRESSIONS.indexOf(compression)] as Buffer, 110)
  fuzz(
    changes.map((list) => repaired(changed(batch, list, 21))),
    3_000,
  )
})

test.each(COMPRESSIONS)('records changed before they are compressed: %s', (compression) => {
  const number = COMPRESSIONS.indexOf(compression)
  const head = appended(plain, 110).subarray(0, 61)
  head.writeInt16BE(number, 21)
  fuzz(
    changes.map((list) => repaired(Buffer.concat([head, compress(number, changed(content, list, 0))]))),
    2_000,
  )
})

test('control batches changed behind a right checksum', () => {
  const end = marker('abort', 163, 9n)
  fuzz(
    changes.map((list) => repaired(changed(end, list, 21))),
    2_000,
  )
})

test('bytes of no origin', () => {
  const bytes = fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array))
  const headed = fc.tuple(fc.boolean(), bytes).map(([isHeaded, body]) => {
    return isHeaded ? repaired(Buffer.concat([appended(plain, 110).subarray(0, 61), body])) : body
  })
  fuzz(headed, 3_000)
})
