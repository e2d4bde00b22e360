import type { RecordColumns, Slices } from './columns.ts'
import { corrupt } from './errors.ts'
import { passHeaders } from './record-headers.ts'
import { VarintReader, varintSize, varlongSize, writeVarint, writeVarlong } from './varint.ts'

/*
 * Records of a batch, one after another:
 *
 *   length: varint                bytes that follow
 *   attributes: INT8              unused
 *   timestamp delta: varlong      to the batch's base timestamp
 *   offset delta: varint          to the batch's base offset; grows from record to record, with gaps after compaction
 *   key length: varint            -1 = null
 *   key
 *   value length: varint          -1 = null
 *   value
 *   headers                       record-headers.ts; a single 0 when there are none
 */
const MIN_RECORD_BYTES = 7
/** Shorter strings are copied byte by byte, which is faster than a call. */
const SHORT_BYTES = 24

/** Columns that rows are added to. The positions of all byte strings count in one buffer, which is known later. */
export interface ColumnBuilder {
  length: number
  readonly offsets: Float64Array
  readonly timestamps: Float64Array
  readonly keyStarts: Int32Array
  readonly keyLengths: Int32Array
  readonly valueStarts: Int32Array
  readonly valueLengths: Int32Array
  readonly headerStarts: Int32Array
  readonly headerLengths: Int32Array
}

export function createColumns(capacity: number): ColumnBuilder {
  const memory = new ArrayBuffer(capacity * (2 * 8 + 6 * 4))
  const doubles = (column: number) => new Float64Array(memory, column * capacity * 8, capacity)
  const positions = (column: number) => new Int32Array(memory, (2 * 8 + column * 4) * capacity, capacity)
  return {
    length: 0,
    offsets: doubles(0),
    timestamps: doubles(1),
    keyStarts: positions(0),
    keyLengths: positions(1),
    valueStarts: positions(2),
    valueLengths: positions(3),
    headerStarts: positions(4),
    headerLengths: positions(5),
  }
}

/** The records of one batch, decompressed: where they lie, and what their deltas are relative to. */
export interface RecordsSection {
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  readonly count: number
  readonly baseOffset: number
  readonly lastOffset: number
  readonly baseTimestamp: number
  /** Of every record (log append time); null = each has its own. */
  readonly timestamp: number | null
}

/** Refuses a count for which the bytes cannot suffice, before anything is allocated for it. */
export function checkCount({ count, start, end }: RecordsSection): void {
  if (count * MIN_RECORD_BYTES > end - start) throw corrupt(`${count} records in ${end - start} bytes`)
}

/** Adds the records with an offset of at least `from`; throws when the section is not exactly its `count` records. */
export function readRecords(section: RecordsSection, columns: ColumnBuilder, from: number): void {
  const { bytes, count, baseOffset, baseTimestamp, timestamp } = section
  const sectionEnd = section.end
  const reader = new VarintReader(bytes, section.start)
  const { offsets, timestamps, keyStarts, keyLengths, valueStarts, valueLengths, headerStarts, headerLengths } = columns
  const maxDelta = section.lastOffset - baseOffset
  let row = columns.length
  let lastDelta = -1
  for (let left = count; left > 0; left--) {
    const length = reader.varint()
    const end = reader.at + length
    if (length < 0 || end > sectionEnd) throw corrupt(`a record of ${length} bytes`)
    reader.at++
    const timestampDelta = reader.varlong()
    const offsetDelta = reader.varint()
    if (offsetDelta <= lastDelta || offsetDelta > maxDelta) throw corrupt(`offset +${offsetDelta} after +${lastDelta}`)
    lastDelta = offsetDelta
    const keyLength = reader.varint()
    const keyStart = reader.at
    if (keyLength < -1 || keyLength > end - keyStart) throw corrupt(`a key of length ${keyLength}`)
    if (keyLength > 0) reader.at += keyLength
    const valueLength = reader.varint()
    const valueStart = reader.at
    if (valueLength < -1 || valueLength > end - valueStart) throw corrupt(`a value of length ${valueLength}`)
    if (valueLength > 0) reader.at += valueLength
    const headerStart = reader.at
    if (headerStart >= end) throw corrupt('a record ends before its headers')
    const headerCount = reader.varint()
    if (headerCount !== 0) passHeaders(reader, headerCount, end)
    if (reader.at !== end) throw corrupt(`${end - reader.at} bytes after the fields of a record`)
    const offset = baseOffset + offsetDelta
    if (offset < from) continue
    offsets[row] = offset
    timestamps[row] = timestamp ?? baseTimestamp + timestampDelta
    keyStarts[row] = keyStart
    keyLengths[row] = keyLength
    valueStarts[row] = valueStart
    valueLengths[row] = valueLength
    headerStarts[row] = headerStart
    headerLengths[row] = headerCount === 0 ? 0 : end - headerStart
    row++
  }
  if (reader.at !== sectionEnd) throw corrupt(`${sectionEnd - reader.at} bytes after its last record`)
  columns.length = row
}

/** Bytes of each record of rows [from, to) after its length field. */
export function recordLengths(records: RecordColumns, from: number, to: number, baseTimestamp: number): Int32Array {
  const { timestamps, keys, values, headers } = records
  const lengths = new Int32Array(to - from)
  for (let row = from; row < to; row++) {
    const delta = typeof timestamps === 'number' ? 0 : (timestamps[row] as number) - baseTimestamp
    const keyLength = keys.lengths[row] as number
    const valueLength = values.lengths[row] as number
    const headerLength = headers === null ? 0 : (headers.lengths[row] as number)
    lengths[row - from] =
      1 +
      varlongSize(delta) +
      varintSize(row - from) +
      varintSize(keyLength) +
      Math.max(0, keyLength) +
      varintSize(valueLength) +
      Math.max(0, valueLength) +
      Math.max(1, headerLength)
  }
  return lengths
}

/** Writes records of these lengths; the position after them. */
export function writeRecords(
  target: Buffer,
  start: number,
  records: RecordColumns,
  from: number,
  lengths: Int32Array,
  baseTimestamp: number,
): number {
  const { timestamps, keys, values, headers } = records
  let at = start
  for (let index = 0; index < lengths.length; index++) {
    const row = from + index
    at = writeVarint(target, at, lengths[index] as number)
    target[at++] = 0
    at = writeVarlong(target, at, typeof timestamps === 'number' ? 0 : (timestamps[row] as number) - baseTimestamp)
    at = writeVarint(target, at, index)
    at = writeVarint(target, at, keys.lengths[row] as number)
    at = copySlice(target, at, keys, row)
    at = writeVarint(target, at, values.lengths[row] as number)
    at = copySlice(target, at, values, row)
    if (headers === null || (headers.lengths[row] as number) <= 0) target[at++] = 0
    else at = copySlice(target, at, headers, row)
  }
  return at
}

function copySlice(target: Buffer, at: number, { bytes, starts, lengths }: Slices, row: number): number {
  const start = starts[row] as number
  const length = lengths[row] as number
  if (length >= SHORT_BYTES) bytes.copy(target, at, start, start + length)
  else for (let index = 0; index < length; index++) target[at + index] = bytes[start + index] as number
  return length > 0 ? at + length : at
}
