import { type RecordColumns, sliceAt } from './columns.ts'
import { corrupt } from './errors.ts'
import { VarintReader, varintSize, writeVarint } from './varint.ts'

/*
 * Headers of one record, in their order; a key may come more than once:
 *
 *   count: varint
 *   headers: { key length: varint, key: UTF-8, value length: varint, -1 = null, value }
 */

export interface RecordHeader {
  readonly key: string
  readonly value: Buffer | null
}

const MIN_HEADER_BYTES = 2

export function encodeHeaders(headers: readonly RecordHeader[]): Buffer {
  const keys = headers.map(({ key }) => Buffer.from(key))
  let size = varintSize(headers.length)
  for (const [index, { value }] of headers.entries()) {
    const keyLength = (keys[index] as Buffer).length
    size += varintSize(keyLength) + keyLength + varintSize(value?.length ?? -1) + (value?.length ?? 0)
  }
  const target = Buffer.allocUnsafe(size)
  let at = writeVarint(target, 0, headers.length)
  for (const [index, { value }] of headers.entries()) {
    const key = keys[index] as Buffer
    at = writeVarint(target, at, key.length)
    at += key.copy(target, at)
    at = writeVarint(target, at, value?.length ?? -1)
    if (value !== null) at += value.copy(target, at)
  }
  return target
}

/** All headers of a record. Values are views. */
export function headersAt(records: RecordColumns, row: number): readonly RecordHeader[] {
  const bytes = records.headers === null ? null : sliceAt(records.headers, row)
  if (bytes === null || bytes.length === 0) return []
  const reader = new VarintReader(bytes, 0)
  return Array.from({ length: reader.varint() }, () => {
    const key = nextField(reader)
    return { key: key === null ? '' : key.toString(), value: nextField(reader) }
  })
}

/** Value of the last header of that name (UTF-8); undefined when there is none. A view. */
export function headerAt(records: RecordColumns, row: number, name: Buffer): Buffer | null | undefined {
  const length = records.headers?.lengths[row] ?? 0
  if (records.headers === null || length <= 0) return undefined
  const reader = new VarintReader(records.headers.bytes, records.headers.starts[row] as number)
  let found: Buffer | null | undefined
  for (let left = reader.varint(); left > 0; left--) {
    const keyLength = reader.varint()
    const key = reader.at
    reader.at += keyLength
    const isIt = keyLength === name.length && reader.bytes.compare(name, 0, keyLength, key, reader.at) === 0
    const value = nextField(reader)
    if (isIt) found = value
  }
  return found
}

function nextField(reader: VarintReader): Buffer | null {
  const length = reader.varint()
  if (length < 0) return null
  const start = reader.at
  reader.at += length
  return reader.bytes.subarray(start, reader.at)
}

/** Moves over headers that should end at `end`, checking each. */
export function passHeaders(reader: VarintReader, count: number, end: number): void {
  if (count < 0 || count * MIN_HEADER_BYTES > end - reader.at) throw corrupt(`${count} headers`)
  for (let left = count; left > 0; left--) {
    const keyLength = reader.varint()
    if (keyLength < 0 || keyLength > end - reader.at) throw corrupt(`the key of a header has length ${keyLength}`)
    reader.at += keyLength
    const valueLength = reader.varint()
    if (valueLength < -1 || valueLength > end - reader.at) {
      throw corrupt(`the value of a header has length ${valueLength}`)
    }
    if (valueLength > 0) reader.at += valueLength
  }
}
