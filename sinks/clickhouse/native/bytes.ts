import { isUtf8 } from 'node:buffer'

/** Memory with a view of the same bytes. */
export interface ViewedBytes {
  readonly bytes: Buffer
  readonly view: DataView
}

export function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** The first `length` values as they lie in memory: little-endian on every machine that Node runs the models on. */
export function bytesOf(values: Int32Array | Uint8Array, length: number): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, length * values.BYTES_PER_ELEMENT)
}

const WORD = 4
const HIGH_BITS = 0x80808080 | 0
const FACTOR = 0x9e3779b1 | 0

/** Hash of a text, 31 bits; -1 = the bytes are not UTF-8. */
export function textHash(bytes: Buffer, view: DataView, from: number, length: number): number {
  const end = from + length
  let at = from
  let bits = 0
  let hash = length
  for (; at + WORD <= end; at += WORD) {
    const word = view.getInt32(at, true)
    bits |= word
    hash = Math.imul(hash ^ word, FACTOR)
    hash ^= hash >>> 15
  }
  for (; at < end; at++) {
    const byte = bytes[at] as number
    bits |= byte
    hash = Math.imul(hash ^ byte, FACTOR)
  }
  if ((bits & HIGH_BITS) !== 0 && !isUtf8(bytes.subarray(from, end))) return -1
  return (hash ^ (hash >>> 15)) & 0x7fffffff
}

/** Copies bytes word by word: for what is short, that is faster than a call. */
export function copyWords(target: ViewedBytes, at: number, source: DataView, from: number, length: number): void {
  const { view } = target
  const words = length & ~(WORD - 1)
  let done = 0
  for (; done < words; done += WORD) view.setInt32(at + done, source.getInt32(from + done, true), true)
  for (; done < length; done++) view.setUint8(at + done, source.getUint8(from + done))
}

export function sameBytes(one: DataView, at: number, other: DataView, from: number, length: number): boolean {
  const words = length & ~(WORD - 1)
  let done = 0
  for (; done < words; done += WORD) {
    if (one.getInt32(at + done, true) !== other.getInt32(from + done, true)) return false
  }
  for (; done < length; done++) if (one.getUint8(at + done) !== other.getUint8(from + done)) return false
  return true
}

/** A length is at most 2^31 - 1 here. */
export const MAX_LENGTH_BYTES = 5

/** Writes a length as ClickHouse does, seven bits a byte, lowest first; the position after it. */
export function writeLength(target: Buffer, at: number, length: number): number {
  let position = at
  let rest = length
  while (rest > 0x7f) {
    target[position++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  target[position++] = rest
  return position
}

/** A text as it stands in a column. */
export function encodedText(text: string): Buffer {
  const bytes = Buffer.from(text)
  const target = Buffer.allocUnsafe(MAX_LENGTH_BYTES + bytes.length)
  const at = writeLength(target, 0, bytes.length)
  return target.subarray(0, at + bytes.copy(target, at))
}
