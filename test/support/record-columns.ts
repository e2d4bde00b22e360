import { type RecordColumns, sliceAt, slicesOf } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { crc32c } from '../../infra/runtime/kafka/record-batches/crc32c.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { encodeHeaders, headersAt, type RecordHeader } from '../../infra/runtime/kafka/record-batches/record-headers.ts'

/** A record as an object, to compare with. */
export interface PlainRecord {
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
}

export function columnsOf(records: readonly PlainRecord[]): RecordColumns {
  return {
    length: records.length,
    timestamps: Float64Array.from(records, ({ timestamp }) => timestamp),
    keys: slicesOf(records.map(({ key }) => key)),
    values: slicesOf(records.map(({ value }) => value)),
    headers: slicesOf(records.map(({ headers }) => (headers.length === 0 ? Buffer.alloc(0) : encodeHeaders(headers)))),
  }
}

export function plainRecords(set: RecordSet): readonly (PlainRecord & { readonly offset: number })[] {
  return Array.from({ length: set.length }, (_, row) => ({
    offset: set.offsets[row] as number,
    timestamp: set.timestamps[row] as number,
    key: sliceAt(set.keys, row),
    value: sliceAt(set.values, row),
    headers: headersAt(set, row),
  }))
}

/** What the broker does with a batch: gives it its offset, which the checksum does not cover. */
export function appended(batch: Buffer, baseOffset: number): Buffer {
  const copy = Buffer.from(batch)
  copy.writeBigInt64BE(BigInt(baseOffset), 0)
  return copy
}

/** The same batch with a checksum that is right whatever is in it. */
export function sealed(batch: Buffer): Buffer {
  const copy = Buffer.from(batch)
  if (copy.length > 21) copy.writeUInt32BE(crc32c(copy.subarray(21)), 17)
  return copy
}

export interface RawBatch {
  readonly baseOffset?: number
  readonly length?: number
  readonly magic?: number
  readonly attributes?: number
  readonly lastOffsetDelta?: number
  readonly baseTimestamp?: number
  readonly maxTimestamp?: number
  readonly producerId?: bigint
  readonly epoch?: number
  readonly count?: number
  readonly records?: Buffer
}

export const LOG_APPEND_TIME = 8
export const TRANSACTIONAL = 16
export const CONTROL = 32

/** A batch field by field, with what no writer would write. */
export function rawBatch(fields: RawBatch): Buffer {
  const records = fields.records ?? Buffer.alloc(0)
  const batch = Buffer.alloc(61 + records.length)
  batch.writeBigInt64BE(BigInt(fields.baseOffset ?? 0), 0)
  batch.writeInt32BE(fields.length ?? batch.length - 12, 8)
  batch.writeInt8(fields.magic ?? 2, 16)
  batch.writeInt16BE(fields.attributes ?? 0, 21)
  batch.writeInt32BE(fields.lastOffsetDelta ?? Math.max(0, (fields.count ?? 0) - 1), 23)
  batch.writeBigInt64BE(BigInt(fields.baseTimestamp ?? 0), 27)
  batch.writeBigInt64BE(BigInt(fields.maxTimestamp ?? 0), 35)
  batch.writeBigInt64BE(fields.producerId ?? -1n, 43)
  batch.writeInt16BE(fields.epoch ?? -1, 51)
  batch.writeInt32BE(-1, 53)
  batch.writeInt32BE(fields.count ?? 0, 57)
  records.copy(batch, 61)
  return sealed(batch)
}

/** Zigzag varint, by definition rather than fast. */
export function varint(value: number): Buffer {
  const wide = BigInt(value)
  let rest = wide >= 0n ? wide * 2n : -wide * 2n - 1n
  const bytes: number[] = []
  for (; rest > 127n; rest /= 128n) bytes.push(Number(rest % 128n) + 128)
  return Buffer.from([...bytes, Number(rest)])
}

/** A record whose fields are given, behind its length. */
export function rawRecord(...fields: readonly (number | string | Buffer)[]): Buffer {
  const body = Buffer.concat([
    Buffer.alloc(1),
    ...fields.map((field) => (typeof field === 'number' ? varint(field) : Buffer.from(field))),
  ])
  return Buffer.concat([varint(body.length), body])
}

/** The end of a transaction as its coordinator writes it. */
export function marker(kind: 'abort' | 'commit', baseOffset: number, producerId: bigint, epoch = 0): Buffer {
  const key = Buffer.from([0, 0, 0, kind === 'abort' ? 0 : 1])
  const value = Buffer.from([0, 0, 0, 0, 0, 7])
  const records = rawRecord(0, 0, 4, key, 6, value, 0)
  return rawBatch({ baseOffset, attributes: TRANSACTIONAL | CONTROL, producerId, epoch, count: 1, records })
}
