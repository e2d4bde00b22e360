/**
 * Reads protocol buffers (https://protobuf.dev/programming-guides/encoding), as far as ONNX files go. A message is fields of
 * `(number << 3) | wire type`: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. Throws WireError for anything else
 * and for what ends too early.
 */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** A varint as int64, four bytes as float32 and eight as float64 (ONNX has no other such fields), or the bytes. */
export type WireValue = number | Buffer

const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5
const LONGEST_VARINT = 10

/** Every field of a message, in its order; `wanted` = none but these, the others are passed over. */
export function readFields(
  message: Buffer,
  visit: (field: number, value: WireValue) => void,
  wanted?: readonly number[],
): void {
  const at = { position: 0 }
  while (at.position < message.length) {
    const tag = readVarint(message, at)
    const field = Math.floor(tag / 8)
    if (field < 1) throw new WireError(`field ${field} at byte ${at.position}`)
    const wireType = tag % 8
    if (wanted === undefined || wanted.includes(field)) visit(field, readValue(message, at, wireType))
    else if (wireType === VARINT) readVarint(message, at)
    else endOfField(message, at, wireType)
  }
}

/** A repeated field of whole numbers, one of them or packed. */
export function pushInts(into: number[], value: WireValue): void {
  if (typeof value === 'number') into.push(value)
  else for (const at = { position: 0 }; at.position < value.length; ) into.push(readVarint(value, at))
}

/** A repeated field of float32, one of them or packed. */
export function pushFloats(into: number[], value: WireValue): void {
  if (typeof value === 'number') into.push(value)
  else if (value.length % 4 !== 0) throw new WireError(`${value.length} bytes of packed float32`)
  else for (let at = 0; at < value.length; at += 4) into.push(value.readFloatLE(at))
}

/** Throws WireError where a number stands. */
export function bytesOf(value: WireValue): Buffer {
  if (typeof value === 'number') throw new WireError('a number where a message or a text is expected')
  return value
}

export function textOf(value: WireValue): string {
  return bytesOf(value).toString()
}

/** Throws WireError where bytes stand. */
export function numberOf(value: WireValue): number {
  if (typeof value !== 'number') throw new WireError('bytes where a number is expected')
  return value
}

interface Position {
  position: number
}

function readValue(message: Buffer, at: Position, wireType: number): WireValue {
  if (wireType === VARINT) return readVarint(message, at)
  const start = endOfField(message, at, wireType)
  if (wireType === FIXED32) return message.readFloatLE(start)
  return wireType === FIXED64 ? message.readDoubleLE(start) : message.subarray(start, at.position)
}

/** Goes to the end of a field that is no varint, and answers where its bytes begin. */
function endOfField(message: Buffer, at: Position, wireType: number): number {
  const length = wireType === BYTES ? readVarint(message, at) : lengthOf(wireType)
  const start = at.position
  const end = start + length
  if (length < 0 || end > message.length) throw new WireError(`it ends within the field at byte ${start}`)
  at.position = end
  return start
}

function lengthOf(wireType: number): number {
  if (wireType === FIXED32) return 4
  if (wireType === FIXED64) return 8
  throw new WireError(`wire type ${wireType}`)
}

/** As a signed 64 bit number: exact up to 2⁵³. */
function readVarint(message: Buffer, at: Position): number {
  const first = message[at.position]
  if (first !== undefined && first < 0x80) {
    at.position++
    return first
  }
  let low = 0
  let high = 0
  for (let index = 0; index < LONGEST_VARINT; index++) {
    const byte = message[at.position++]
    if (byte === undefined) throw new WireError('it ends within a number')
    const bits = byte & 0x7f
    const shift = index * 7
    if (shift < 28) low |= bits << shift
    else if (shift === 28) {
      low |= bits << 28
      high |= bits >> 4
    } else high |= bits << (shift - 32)
    if (byte < 0x80) return high === 0 ? low >>> 0 : high * 0x1_0000_0000 + (low >>> 0)
  }
  throw new WireError('a number of more than 64 bits')
}
