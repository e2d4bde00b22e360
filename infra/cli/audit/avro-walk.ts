/**
 * Reads Avro binary by position, for the leading fields of records of a known layout, without an object for each. Past the end
 * it goes on with zeroes: whoever is done compares `at` with the end.
 */
export class AvroWalk {
  bytes: Buffer
  at: number

  constructor() {
    this.bytes = Buffer.alloc(0)
    this.at = 0
  }

  /** int and long: zigzag varints. Exact within 2^53. */
  long(): number {
    const { bytes } = this
    let byte = bytes[this.at++] ?? 0
    let value = byte & 0x7f
    for (let weight = 0x80; byte >= 0x80 && weight < 2 ** 70; weight *= 0x80) {
      byte = bytes[this.at++] ?? 0
      value += (byte & 0x7f) * weight
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  /** string and bytes; a negative length leaves the position behind every end. */
  skipBytes(): void {
    const length = this.long()
    this.at += length < 0 ? Number.POSITIVE_INFINITY : length
  }

  skipStrings(count: number): void {
    for (let left = count; left > 0; left--) this.skipBytes()
  }

  /** Start of a string; the position is behind it. */
  private enter(): number {
    const length = this.long()
    const start = this.at
    this.at += length < 0 ? Number.POSITIVE_INFINITY : length
    return start
  }

  text(): string {
    const start = this.enter()
    return this.at > this.bytes.length ? '' : this.bytes.toString('utf8', start, this.at)
  }

  /** Whether a string is this one. */
  isText(expected: Buffer): boolean {
    const start = this.enter()
    if (this.at - start !== expected.length || this.at > this.bytes.length) return false
    return this.bytes.compare(expected, 0, expected.length, start, this.at) === 0
  }

  /** array<float>: blocks of a count, each followed by its items; a negative count has the block's size behind it. */
  skipFloats(): void {
    for (let count = this.long(); count !== 0 && this.at < this.bytes.length; count = this.long()) {
      if (count < 0) this.at += Math.max(0, this.long())
      else this.at += count * 4
    }
  }
}
