import { retryable } from '../../errors.ts'

/*
 * Primitive types of the Kafka protocol, big-endian. Strings, bytes and arrays carry their length in front (INT16, INT32,
 * INT32), -1 for null; the compact ones of flexible versions an unsigned varint of length + 1, 0 for null.
 */

const UUID_BYTES = 16

export interface WireWriter {
  int8(value: number): WireWriter
  int16(value: number): WireWriter
  int32(value: number): WireWriter
  /** A number up to 2⁵³ or a bigint. */
  int64(value: number | bigint): WireWriter
  boolean(value: boolean): WireWriter
  string(value: string | null): WireWriter
  bytes(value: Buffer | null): WireWriter
  raw(value: Buffer): WireWriter
  /** As `bytes`, but `pieces` answers the value itself, not a copy. */
  bytesApart(value: Buffer): WireWriter
  array<T>(items: readonly T[] | null, write: (item: T, writer: WireWriter) => void): WireWriter
  compactString(value: string | null): WireWriter
  compactArray<T>(items: readonly T[] | null, write: (item: T, writer: WireWriter) => void): WireWriter
  uuid(value: string | null): WireWriter
  noTags(): WireWriter
  /** Everything written, in one buffer. */
  end(): Buffer
  /** The same, in the pieces that it was written in. */
  pieces(): readonly Buffer[]
}

export function wireWriter(): WireWriter {
  let buffer = Buffer.allocUnsafe(256)
  let at = 0
  const apart: { readonly at: number; readonly value: Buffer }[] = []
  /** Where to write; called before `buffer` is read, which it may replace. */
  const grow = (bytes: number): number => {
    if (at + bytes > buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + bytes))
      buffer.copy(larger, 0, 0, at)
      buffer = larger
    }
    at += bytes
    return at - bytes
  }
  const unsignedVarint = (value: number): void => {
    const put = (byte: number): void => {
      const start = grow(1)
      buffer[start] = byte
    }
    let rest = value
    for (; rest > 0x7f; rest >>>= 7) put((rest & 0x7f) | 0x80)
    put(rest)
  }
  const writer: WireWriter = {
    int8(value) {
      const start = grow(1)
      buffer.writeInt8(value, start)
      return writer
    },
    int16(value) {
      const start = grow(2)
      buffer.writeInt16BE(value, start)
      return writer
    },
    int32(value) {
      const start = grow(4)
      buffer.writeInt32BE(value, start)
      return writer
    },
    int64(value) {
      const start = grow(8)
      buffer.writeBigInt64BE(BigInt(value), start)
      return writer
    },
    boolean: (value) => writer.int8(value ? 1 : 0),
    string(value) {
      if (value === null) return writer.int16(-1)
      const bytes = Buffer.from(value)
      return writer.int16(bytes.length).raw(bytes)
    },
    bytes: (value) => (value === null ? writer.int32(-1) : writer.int32(value.length).raw(value)),
    raw(value) {
      const start = grow(value.length)
      value.copy(buffer, start)
      return writer
    },
    bytesApart(value) {
      writer.int32(value.length)
      apart.push({ at, value })
      return writer
    },
    array(items, write) {
      writer.int32(items?.length ?? -1)
      for (const item of items ?? []) write(item, writer)
      return writer
    },
    compactString(value) {
      const bytes = value === null ? null : Buffer.from(value)
      unsignedVarint(bytes === null ? 0 : bytes.length + 1)
      return bytes === null ? writer : writer.raw(bytes)
    },
    compactArray(items, write) {
      unsignedVarint(items === null ? 0 : items.length + 1)
      for (const item of items ?? []) write(item, writer)
      return writer
    },
    uuid: (value) =>
      writer.raw(value === null ? Buffer.alloc(UUID_BYTES) : Buffer.from(value.replaceAll('-', ''), 'hex')),
    noTags: () => writer.int8(0),
    end: () => (apart.length === 0 ? buffer.subarray(0, at) : Buffer.concat(writer.pieces())),
    pieces() {
      const list: Buffer[] = []
      let from = 0
      for (const piece of apart) {
        list.push(buffer.subarray(from, piece.at), piece.value)
        from = piece.at
      }
      if (from < at || list.length === 0) list.push(buffer.subarray(from, at))
      return list
    },
  }
  return writer
}

export interface WireReader {
  /** Where the next value begins. */
  readonly position: number
  readonly remaining: number
  int8(): number
  int16(): number
  int32(): number
  /** Throws when it is not a safe integer. */
  int64(): number
  bigint64(): bigint
  boolean(): boolean
  string(): string | null
  /** A view of the payload; null for a negative length. */
  bytes(): Buffer | null
  array<T>(read: (reader: WireReader) => T): T[]
  compactString(): string | null
  compactArray<T>(read: (reader: WireReader) => T): T[]
  uuid(): string
  skipTags(): void
  /** Calls back for each tagged field, which need not be read; unread rest is skipped. */
  tags(read: (tag: number) => void): void
}

/** Throws `malformed_response` (retry) instead of reading past the end. */
export function wireReader(payload: Buffer, name: string): WireReader {
  let at = 0
  const malformed = (): Error => retryable('malformed_response', `the answer to ${name} ends or breaks at byte ${at}`)
  const advance = (bytes: number): number => {
    if (bytes < 0 || at + bytes > payload.length) throw malformed()
    at += bytes
    return at - bytes
  }
  const unsignedVarint = (): number => {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = payload.readUInt8(advance(1))
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw malformed()
  }
  const text = (length: number): string | null => {
    if (length < 0) return null
    const start = advance(length)
    return payload.toString('utf8', start, at)
  }
  const items = <T>(count: number, read: (reader: WireReader) => T): T[] => {
    // an item takes a byte at least
    if (count > payload.length - at) throw malformed()
    const list: T[] = []
    for (let left = count; left > 0; left--) list.push(read(reader))
    return list
  }
  const reader: WireReader = {
    get position() {
      return at
    },
    get remaining() {
      return payload.length - at
    },
    int8: () => payload.readInt8(advance(1)),
    int16: () => payload.readInt16BE(advance(2)),
    int32: () => payload.readInt32BE(advance(4)),
    int64() {
      const value = Number(payload.readBigInt64BE(advance(8)))
      if (!Number.isSafeInteger(value)) throw malformed()
      return value
    },
    bigint64: () => payload.readBigInt64BE(advance(8)),
    boolean: () => payload.readInt8(advance(1)) !== 0,
    string: () => text(reader.int16()),
    bytes() {
      const length = reader.int32()
      if (length < 0) return null
      const start = advance(length)
      return payload.subarray(start, at)
    },
    array: (read) => items(reader.int32(), read),
    compactString: () => text(unsignedVarint() - 1),
    compactArray: (read) => items(unsignedVarint() - 1, read),
    uuid() {
      const start = advance(UUID_BYTES)
      const hex = payload.toString('hex', start, at)
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
    },
    skipTags: () => reader.tags(() => {}),
    tags(read) {
      for (let left = unsignedVarint(); left > 0; left--) {
        const tag = unsignedVarint()
        const end = unsignedVarint() + at
        read(tag)
        advance(end - at)
      }
    },
  }
  return reader
}
