import { bytesOf, sameBytes, textHash, viewOf } from './bytes.ts'
import type { Column } from './column.ts'
import { TextColumn } from './text-column.ts'

const FIRST_SLOTS = 64
const KEYS_FOLLOW = 512n
/** Version, kind of index, count of keys, count of rows. */
const KEYS_HEAD_BYTES = 4 * 8

/** A text as a column looks for it. */
export interface KeyText {
  readonly view: DataView
  readonly length: number
  readonly hash: number
}

export function keyText(text: string): KeyText {
  const bytes = Buffer.from(text)
  const view = viewOf(bytes)
  return { view, length: bytes.length, hash: textHash(bytes, view, 0, bytes.length) }
}

/** A text is kept once, and rows have its number. The same rows give the same bytes: keys stand in the order in which they came. */
export class KeysColumn implements Column {
  indexes = new Int32Array(0)
  readonly #nullable: boolean
  readonly #keys = new TextColumn()
  /** Of each key: hash, and where its bytes lie. */
  readonly #hashes: number[] = []
  readonly #starts: number[] = []
  readonly #lengths: number[] = []
  /** A key's number + 1 at its hash or the next free place behind; 0 = free. Twice as many places as keys at least. */
  #slots = new Int32Array(FIRST_SLOTS)
  /** What a row mostly has is what the row before it had: its key, and where the bytes of that lie. */
  #last = -1
  #lastStart = 0
  #lastLength = -1
  /** The same of texts and of symbols. */
  #lastText: string | null = null
  #textKey = 0
  #lastSymbol = -1
  #symbolKey = 0

  constructor(nullable: boolean) {
    this.#nullable = nullable
    this.clear()
  }

  grow(rows: number): void {
    const larger = new Int32Array(rows)
    larger.set(this.indexes)
    this.indexes = larger
  }

  /** Whether these bytes are those that `set` wrote last. */
  isLast(source: DataView, from: number, length: number): boolean {
    return length === this.#lastLength && sameBytes(this.#keys.view, this.#lastStart, source, from, length)
  }

  setLast(row: number): void {
    this.indexes[row] = this.#last
  }

  /** `hash` = of these bytes, by `textHash`. */
  set(row: number, source: DataView, from: number, length: number, hash: number): void {
    const key = this.#keyOf(source, from, length, hash)
    this.#last = key
    this.#lastStart = this.#starts[key] as number
    this.#lastLength = length
    this.indexes[row] = key
  }

  /** `symbol` = a number that stands for this text and no other. */
  setSymbol(row: number, symbol: number, { view, length, hash }: KeyText): void {
    if (symbol !== this.#lastSymbol) {
      this.#symbolKey = this.#keyOf(view, 0, length, hash)
      this.#lastSymbol = symbol
    }
    this.indexes[row] = this.#symbolKey
  }

  setNull(row: number): void {
    this.indexes[row] = 0
  }

  add(row: number, value: unknown): void {
    if (value === null) this.setNull(row)
    else this.indexes[row] = this.#keyOfText(value as string)
  }

  /** One text in all rows. */
  fill(rows: number, text: string): void {
    this.indexes.fill(this.#keyOfText(text), 0, rows)
  }

  #keyOfText(text: string): number {
    if (text === this.#lastText) return this.#textKey
    const { view, length, hash } = keyText(text)
    this.#textKey = this.#keyOf(view, 0, length, hash)
    this.#lastText = text
    return this.#textKey
  }

  #keyOf(source: DataView, from: number, length: number, hash: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    let slot = hash & mask
    for (let found = slots[slot] as number; found !== 0; found = slots[slot] as number) {
      const key = found - 1
      if (
        this.#hashes[key] === hash &&
        this.#lengths[key] === length &&
        sameBytes(this.#keys.view, this.#starts[key] as number, source, from, length)
      ) {
        return key
      }
      slot = (slot + 1) & mask
    }
    const key = this.#append(source, from, length, hash)
    slots[slot] = key + 1
    if (2 * this.#hashes.length > slots.length) this.#rehash()
    return key
  }

  #append(source: DataView, from: number, length: number, hash: number): number {
    this.#keys.append(source, from, length)
    this.#starts.push(this.#keys.end - length)
    this.#lengths.push(length)
    return this.#hashes.push(hash) - 1
  }

  #rehash(): void {
    const slots = new Int32Array(2 * this.#slots.length)
    const mask = slots.length - 1
    for (let key = this.#nullable ? 1 : 0; key < this.#hashes.length; key++) {
      let slot = (this.#hashes[key] as number) & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = key + 1
    }
    this.#slots = slots
  }

  /** Of an index, as a power of two. */
  #indexSize(): 0 | 1 | 2 {
    const keys = this.#hashes.length
    return keys <= 2 ** 8 ? 0 : keys <= 2 ** 16 ? 1 : 2
  }

  size(rows: number): number {
    return KEYS_HEAD_BYTES + this.#keys.end + rows * 2 ** this.#indexSize()
  }

  writeTo(target: Buffer, at: number, rows: number): number {
    const size = this.#indexSize()
    let end = target.writeBigUInt64LE(1n, at)
    end = target.writeBigUInt64LE(BigInt(size) + KEYS_FOLLOW, end)
    end = target.writeBigUInt64LE(BigInt(this.#hashes.length), end)
    end = this.#keys.writeTo(target, end)
    end = target.writeBigUInt64LE(BigInt(rows), end)
    const { indexes } = this
    if (size === 0) target.set(indexes.subarray(0, rows), end)
    else if (size === 1) target.set(bytesOf16(indexes, rows), end)
    else target.set(bytesOf(indexes, rows), end)
    return end + rows * 2 ** size
  }

  clear(): void {
    this.#keys.clear()
    this.#hashes.length = 0
    this.#starts.length = 0
    this.#lengths.length = 0
    this.#slots = new Int32Array(FIRST_SLOTS)
    this.#lastLength = -1
    this.#lastText = null
    this.#lastSymbol = -1
    // not in the table of slots: no text may find it
    if (this.#nullable) this.#append(NOTHING, 0, 0, 0)
  }
}

const NOTHING = new DataView(new ArrayBuffer(0))

function bytesOf16(indexes: Int32Array, rows: number): Uint8Array {
  return new Uint8Array(Uint16Array.from(indexes.subarray(0, rows)).buffer)
}
