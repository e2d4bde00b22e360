import { copyWords, encodedText, MAX_LENGTH_BYTES, viewOf, writeLength } from './bytes.ts'
import type { Column } from './column.ts'

const FIRST_BYTES = 4_096

export class TextColumn implements Column {
  bytes = Buffer.allocUnsafeSlow(FIRST_BYTES)
  view = viewOf(this.bytes)
  end = 0
  grow(): void {}
  #reserve(bytes: number): void {
    if (this.end + bytes <= this.bytes.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.bytes.length, this.end + bytes))
    this.bytes.copy(larger, 0, 0, this.end)
    this.bytes = larger
    this.view = viewOf(larger)
  }
  append(source: DataView, from: number, length: number): void {
    this.#reserve(length + MAX_LENGTH_BYTES)
    const at = writeLength(this.bytes, this.end, length)
    copyWords(this, at, source, from, length)
    this.end = at + length
  }
  add(_: number, value: unknown): void {
    const text = encodedText(value as string)
    this.#reserve(text.length)
    this.end += text.copy(this.bytes, this.end)
  }
  size(): number {
    return this.end
  }
  writeTo(target: Buffer, at: number): number {
    return at + this.bytes.copy(target, at, 0, this.end)
  }
  clear(): void {
    this.end = 0
  }
}
