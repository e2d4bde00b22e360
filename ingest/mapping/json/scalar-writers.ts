import { writeLong } from '../../../infra/runtime/avro/avro-bytes.ts'
import type { AvroType, Decimal } from '../../../schemas/pipeline/avro-schema.ts'
import { type JsonCursor, KIND } from './cursor.ts'
import { isLong, scaledOf, twosComplement, writeBigLong } from './exact-numbers.ts'
import { daysOf, type Precision, timeOfDay, timestampOf } from './times.ts'

/** Reads the JSON value that begins at the cursor and writes it as Avro; false = it is not one, and the cursor says why. */
export type Writer = (cursor: JsonCursor) => boolean

/** Kinds of JSON values that a type takes: those that mean it, and those that may stand for it. */
export interface Taken {
  readonly kinds: readonly number[]
  readonly standIns: readonly number[]
}

export interface ScalarWriter extends Taken {
  readonly write: Writer
}

type Primitive = AvroType & { readonly kind: 'primitive' }

const INT_END = 2 ** 31
const DAY = { 3: 86_400_000, 6: 86_400_000_000 } as const
const LONG_TEXT = /^-?(0|[1-9]\d*)$/
const UUID = /^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/
const SHOWN = 40

const taking = (write: Writer, kind: number, ...standIns: readonly number[]): ScalarWriter => ({
  write,
  kinds: [kind],
  standIns,
})

export function primitiveWriter(type: Primitive): ScalarWriter {
  switch (type.type) {
    case 'null':
      return taking(
        (cursor) => (cursor.kind() === KIND.null ? cursor.word('null') : cursor.unexpected('null')),
        KIND.null,
      )
    case 'boolean':
      return taking(writeBoolean, KIND.boolean)
    case 'int':
      return intWriter(type.logicalType)
    case 'long':
      return longWriter(type.logicalType)
    case 'float':
      return taking(writeFloat, KIND.number)
    case 'double':
      return taking(writeDouble, KIND.number)
    case 'string':
      return taking(type.logicalType === 'uuid' ? writeUuid : writeText, KIND.string)
    case 'bytes':
      return type.decimal === undefined ? taking(writeBytes, KIND.string) : decimalWriter(type.decimal, null)
  }
}

function writeText(cursor: JsonCursor): boolean {
  return cursor.bytes[cursor.at] === 0x22 && cursor.at < cursor.end
    ? cursor.writeString()
    : cursor.unexpected('a string')
}

function writeBoolean(cursor: JsonCursor): boolean {
  if (cursor.kind() !== KIND.boolean) return cursor.unexpected('true or false')
  const yes = cursor.bytes[cursor.at] === 0x74
  if (!cursor.word(yes ? 'true' : 'false') || !cursor.room()) return false
  cursor.out[cursor.pos++] = yes ? 1 : 0
  return true
}

function writeDouble(cursor: JsonCursor): boolean {
  if (cursor.kind() !== KIND.number) return cursor.unexpected('a number')
  if (!cursor.number() || !cursor.room()) return false
  const value = cursor.double()
  if (value - value !== 0) return outOfRange(cursor, cursor.numberText(), 'a double')
  cursor.view.setFloat64(cursor.pos, value, true)
  cursor.pos += 8
  return true
}

function writeFloat(cursor: JsonCursor): boolean {
  if (cursor.kind() !== KIND.number) return cursor.unexpected('a number')
  if (!cursor.number() || !cursor.room()) return false
  const value = Math.fround(cursor.double())
  if (value - value !== 0) return outOfRange(cursor, cursor.numberText(), 'a float')
  cursor.view.setFloat32(cursor.pos, value, true)
  cursor.pos += 4
  return true
}

function outOfRange(cursor: JsonCursor, text: string, type: string): false {
  return cursor.fail('out_of_range', `${shown(text)} is not in ${type}`)
}

/** Of a value that is told back to whoever sent it. */
function shown(text: string): string {
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`
}

/** The whole number that begins here, in [from, end). */
function writeWhole(cursor: JsonCursor, type: string, from: number, end: number): boolean {
  if (!cursor.number() || !cursor.room()) return false
  let value = cursor.digits
  if (!cursor.simple || cursor.fraction > 0) {
    const exact = scaledOf(cursor.numberText(), 0)
    if (exact === null || exact < from || exact >= end) return outOfRange(cursor, cursor.numberText(), type)
    value = Number(exact)
  } else if (value < from || value >= end) return outOfRange(cursor, cursor.numberText(), type)
  cursor.pos = writeLong(cursor.out, cursor.pos, value)
  return true
}

function intWriter(logicalType: string | null): ScalarWriter {
  if (logicalType === 'date') {
    const write: Writer = (cursor) => {
      if (cursor.kind() !== KIND.string) return writeInt(cursor)
      const text = cursor.text()
      return text !== null && written(cursor, daysOf(text), text, 'a date such as 2024-02-29')
    }
    return taking(write, KIND.number, KIND.string)
  }
  return logicalType === 'time-millis' ? timeWriter(3) : taking(writeInt, KIND.number)
}

function writeInt(cursor: JsonCursor): boolean {
  if (cursor.kind() !== KIND.number) return cursor.unexpected('a whole number')
  return writeWhole(cursor, 'an int', -INT_END, INT_END)
}

function timeWriter(precision: Precision): ScalarWriter {
  const write: Writer = (cursor) => {
    const kind = cursor.kind()
    if (kind === KIND.number) return writeWhole(cursor, 'a day', 0, DAY[precision])
    if (kind !== KIND.string) return cursor.unexpected('a time of day')
    const text = cursor.text()
    const expected = `a time of day such as 23:59:59.5, of at most ${precision} digits behind the point`
    return text !== null && written(cursor, timeOfDay(text, precision), text, expected)
  }
  return taking(write, KIND.number, KIND.string)
}

function written(cursor: JsonCursor, value: number | null, text: string, expected: string): boolean {
  if (value === null) return cursor.fail('invalid_value', `"${shown(text)}" is not ${expected}`)
  if (!cursor.room()) return false
  cursor.pos = writeLong(cursor.out, cursor.pos, value)
  return true
}

function longWriter(logicalType: string | null): ScalarWriter {
  switch (logicalType) {
    case 'time-micros':
      return timeWriter(6)
    case 'timestamp-millis':
      return timestampWriter(3)
    case 'timestamp-micros':
      return timestampWriter(6)
    default: {
      const write: Writer = (cursor) => {
        const kind = cursor.kind()
        if (kind === KIND.number) return writeLongNumber(cursor)
        if (kind !== KIND.string) return cursor.unexpected('a whole number')
        const text = cursor.text()
        if (text === null) return false
        if (!LONG_TEXT.test(text)) {
          return cursor.fail('invalid_value', `"${shown(text)}" is not a whole number in decimal digits`)
        }
        return writeExact(cursor, scaledOf(text, 0), text)
      }
      return taking(write, KIND.number, KIND.string)
    }
  }
}

function timestampWriter(precision: Precision): ScalarWriter {
  const unit = precision === 3 ? 'milliseconds' : 'microseconds'
  const write: Writer = (cursor) => {
    const kind = cursor.kind()
    if (kind === KIND.number) return writeLongNumber(cursor)
    if (kind !== KIND.string) return cursor.unexpected(`a time in epoch ${unit} or as RFC 3339 has it`)
    const text = cursor.text()
    if (text === null) return false
    const value = timestampOf(text, precision)
    if (value !== null) return writeExact(cursor, value, text)
    const expected = `an RFC 3339 time with an offset, exact in ${unit}`
    return cursor.fail('invalid_value', `"${shown(text)}" is not ${expected}`)
  }
  return taking(write, KIND.number, KIND.string)
}

function writeLongNumber(cursor: JsonCursor): boolean {
  if (!cursor.number()) return false
  if (!cursor.simple || cursor.fraction > 0) {
    const text = cursor.numberText()
    return writeExact(cursor, scaledOf(text, 0), text)
  }
  if (!cursor.room()) return false
  cursor.pos = writeLong(cursor.out, cursor.pos, cursor.digits)
  return true
}

function writeExact(cursor: JsonCursor, value: bigint | null, text: string): boolean {
  if (value === null || !isLong(value)) return outOfRange(cursor, text, 'a long')
  if (!cursor.room()) return false
  cursor.pos = writeBigLong(cursor.out, cursor.pos, value)
  return true
}

function writeUuid(cursor: JsonCursor): boolean {
  const text = stringOf(cursor, 'a UUID')
  if (text === null) return false
  return UUID.test(text) ? cursor.write(text) : cursor.fail('invalid_value', `"${shown(text)}" is not a UUID`)
}

function stringOf(cursor: JsonCursor, expected: string): string | null {
  if (cursor.kind() === KIND.string) return cursor.text()
  cursor.unexpected(expected)
  return null
}

/** Base64 as RFC 4648 has it in section 4, padded, of which every text means other bytes. */
function bytesOf(cursor: JsonCursor): Buffer | null {
  const text = stringOf(cursor, 'base64')
  if (text === null) return null
  const bytes = Buffer.from(text, 'base64')
  // what the decoder left out or took for something else is not in there
  if (bytes.toString('base64') === text) return bytes
  cursor.fail('invalid_value', `"${shown(text)}" is not base64 with its padding`)
  return null
}

function writeBytes(cursor: JsonCursor): boolean {
  const bytes = bytesOf(cursor)
  return bytes !== null && writeSized(cursor, bytes)
}

function writeSized(cursor: JsonCursor, bytes: Buffer): boolean {
  if (!cursor.room(bytes.length)) return false
  cursor.pos = writeLong(cursor.out, cursor.pos, bytes.length)
  cursor.pos += bytes.copy(cursor.out, cursor.pos)
  return true
}

export function fixedWriter({ size, decimal }: AvroType & { readonly kind: 'fixed' }): ScalarWriter {
  if (decimal !== undefined) return decimalWriter(decimal, size)
  const write: Writer = (cursor) => {
    const bytes = bytesOf(cursor)
    if (bytes === null) return false
    if (bytes.length !== size) {
      return cursor.fail('invalid_value', `${size} bytes are expected, there are ${bytes.length}`)
    }
    if (!cursor.room(size)) return false
    cursor.pos += bytes.copy(cursor.out, cursor.pos)
    return true
  }
  return taking(write, KIND.string)
}

function decimalWriter({ precision, scale }: Decimal, size: number | null): ScalarWriter {
  const limit = 10n ** BigInt(precision)
  const expected = `a decimal of ${precision} digits, ${scale} of them behind the point`
  const write: Writer = (cursor) => {
    const kind = cursor.kind()
    if (kind !== KIND.number && kind !== KIND.string) return cursor.unexpected(expected)
    if (kind === KIND.number && !cursor.number()) return false
    const text = kind === KIND.number ? cursor.numberText() : cursor.text()
    if (text === null) return false
    const value = scaledOf(text, scale)
    const bytes = value === null || value >= limit || value <= -limit ? null : twosComplement(value, size)
    if (bytes === null) return cursor.fail('out_of_range', `${shown(text)} is not ${expected}`)
    if (size === null) return writeSized(cursor, bytes)
    if (!cursor.room(size)) return false
    cursor.pos += bytes.copy(cursor.out, cursor.pos)
    return true
  }
  return taking(write, KIND.number, KIND.string)
}

export function enumWriter(symbols: readonly string[]): ScalarWriter {
  const indexes = new Map(symbols.map((symbol, index) => [symbol, index]))
  const write: Writer = (cursor) => {
    const text = stringOf(cursor, 'the name of a symbol')
    if (text === null) return false
    const index = indexes.get(text)
    if (index === undefined) return cursor.fail('invalid_value', `"${shown(text)}" is not a symbol of the enum`)
    if (!cursor.room()) return false
    cursor.pos = writeLong(cursor.out, cursor.pos, index)
    return true
  }
  return taking(write, KIND.string)
}
