import type { ColumnType } from '../column-types.ts'
import { bytesOf } from './bytes.ts'
import type { Column } from './column.ts'
import { KeysColumn } from './keys-column.ts'
import { TextColumn } from './text-column.ts'

const FIRST_ITEMS = 1_024
const HALF = 2 ** 32

/** Values of 1 byte. */
class ByteColumn implements Column {
  values = new Uint8Array(0)
  grow(rows: number): void {
    const larger = new Uint8Array(rows)
    larger.set(this.values)
    this.values = larger
  }
  add(row: number, value: unknown): void {
    this.values[row] = value === true ? 1 : 0
  }
  size(rows: number): number {
    return rows
  }
  writeTo(target: Buffer, at: number, rows: number): number {
    target.set(this.values.subarray(0, rows), at)
    return at + rows
  }
  clear(): void {}
}

const float = new Float32Array(1)
const floatBits = new Int32Array(float.buffer)

function bitsOf(value: number): number {
  float[0] = value
  return floatBits[0] as number
}

/** Values of 4 bytes; floats by their bits. */
export class WordColumn implements Column {
  words = new Int32Array(0)
  readonly #isFloat: boolean
  constructor(isFloat: boolean) {
    this.#isFloat = isFloat
  }
  grow(rows: number): void {
    const larger = new Int32Array(rows)
    larger.set(this.words)
    this.words = larger
  }
  add(row: number, value: unknown): void {
    this.words[row] = this.#isFloat ? bitsOf(value as number) : (value as number)
  }
  size(rows: number): number {
    return 4 * rows
  }
  writeTo(target: Buffer, at: number, rows: number): number {
    target.set(bytesOf(this.words, rows), at)
    return at + 4 * rows
  }
  clear(): void {}
}

/** Safe integers, in 8 bytes. */
export class LongColumn implements Column {
  values = new Float64Array(0)
  grow(rows: number): void {
    const larger = new Float64Array(rows)
    larger.set(this.values)
    this.values = larger
  }
  add(row: number, value: unknown): void {
    this.values[row] = value as number
  }
  size(rows: number): number {
    return 8 * rows
  }
  writeTo(target: Buffer, at: number, rows: number): number {
    const halves = new Int32Array(2 * rows)
    for (let row = 0; row < rows; row++) {
      const value = this.values[row] as number
      halves[2 * row] = value | 0
      halves[2 * row + 1] = Math.floor(value / HALF)
    }
    target.set(bytesOf(halves, 2 * rows), at)
    return at + 8 * rows
  }
  clear(): void {}
}

class NullableTextColumn implements Column {
  readonly nulls = new ByteColumn()
  readonly text = new TextColumn()
  grow(rows: number): void {
    this.nulls.grow(rows)
  }
  set(row: number, isNull: boolean, source: DataView, from: number, length: number): void {
    this.nulls.values[row] = isNull ? 1 : 0
    this.text.append(source, from, isNull ? 0 : length)
  }
  add(row: number, value: unknown): void {
    this.nulls.add(row, value === null)
    this.text.add(row, value ?? '')
  }
  size(rows: number): number {
    return this.nulls.size(rows) + this.text.size()
  }
  writeTo(target: Buffer, at: number, rows: number): number {
    return this.text.writeTo(target, this.nulls.writeTo(target, at, rows))
  }
  clear(): void {
    this.text.clear()
  }
}

class FloatsColumn implements Column {
  readonly ends = new LongColumn()
  items = new Int32Array(FIRST_ITEMS)
  end = 0
  grow(rows: number): void {
    this.ends.grow(rows)
  }
  #reserve(count: number): void {
    if (this.end + count <= this.items.length) return
    const larger = new Int32Array(Math.max(2 * this.items.length, this.end + count))
    larger.set(this.items.subarray(0, this.end))
    this.items = larger
  }
  set(row: number, source: DataView, from: number, count: number): void {
    this.#reserve(count)
    const { items, end } = this
    for (let item = 0; item < count; item++) items[end + item] = source.getInt32(from + 4 * item, true)
    this.end = end + count
    this.ends.values[row] = this.end
  }
  add(row: number, value: unknown): void {
    const floats = value as readonly number[]
    this.#reserve(floats.length)
    for (const item of floats) this.items[this.end++] = bitsOf(item)
    this.ends.values[row] = this.end
  }
  size(rows: number): number {
    return this.ends.size(rows) + 4 * this.end
  }
  writeTo(target: Buffer, at: number, rows: number): number {
    const items = this.ends.writeTo(target, at, rows)
    target.set(bytesOf(this.items, this.end), items)
    return items + 4 * this.end
  }
  clear(): void {
    this.end = 0
  }
}

/** Null for a type that is not written so. */
export function columnOf(type: ColumnType): Column | null {
  switch (type) {
    case 'String':
      return new TextColumn()
    case 'Nullable(String)':
      return new NullableTextColumn()
    case 'LowCardinality(String)':
      return new KeysColumn(false)
    case 'LowCardinality(Nullable(String))':
      return new KeysColumn(true)
    case 'Bool':
      return new ByteColumn()
    case 'Int32':
      return new WordColumn(false)
    case 'Float32':
      return new WordColumn(true)
    case 'Int64':
    case 'UInt64':
    case "DateTime64(3, 'UTC')":
      return new LongColumn()
    case 'Array(Float32)':
      return new FloatsColumn()
    case 'Nullable(Int32)':
    case 'Nullable(Int64)':
    case 'Float64':
    case 'Array(Int64)':
    case 'Map(String, String)':
      return null
  }
}
