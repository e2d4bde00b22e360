/*
 * Avro binary by position, for readers and writers that make no object. A long (an int as well) is zigzag (0, -1, 1, -2 …
 * become 0, 1, 2, 3 …), then seven bits a byte, lowest first, the high bit set in all but the last byte; at most 10 bytes.
 * Strings and bytes are a long and so many bytes; an array is blocks of a count and items, a count of 0 ends it.
 */

/** Larger ones are left to the Avro library, which reads them as the nearest double or not at all. */
const EXACT_END = 2 ** 52
const LOW_BITS = 2 ** 28
const MAX_BYTES = 10

/** A safe integer has no more. */
export const MAX_LONG_BYTES = 8

/** Reads values that lie in [at, end). What it cannot read leaves it somewhere in there. */
export class AvroCursor {
  bytes: Buffer = Buffer.alloc(0)
  at = 0
  end = 0

  /** NaN when the bytes end before it does, or it is not below 2^52. */
  long(): number {
    const { bytes, end } = this
    let at = this.at
    let low = 0
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= end) return Number.NaN
      const byte = bytes[at++] as number
      low |= (byte & 0x7f) << shift
      if (byte < 0x80) {
        this.at = at
        return (low >>> 1) ^ -(low & 1)
      }
    }
    let high = 0
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= end) return Number.NaN
      const byte = bytes[at++] as number
      high |= (byte & 0x7f) << shift
      if (byte < 0x80) {
        this.at = at
        const half = high * (LOW_BITS / 2) + (low >>> 1)
        if (half >= EXACT_END) return Number.NaN
        return (low & 1) === 0 ? half : -half - 1
      }
    }
    return Number.NaN
  }

  /** Moves over a long of any size; false when there is none. */
  passLong(): boolean {
    const { bytes } = this
    const end = Math.min(this.end, this.at + MAX_BYTES)
    for (let at = this.at; at < end; at++) {
      if ((bytes[at] as number) >= 0x80) continue
      this.at = at + 1
      return true
    }
    return false
  }

  /** Moves over so many bytes; false when there are fewer. */
  pass(count: number): boolean {
    if (!(count >= 0 && count <= this.end - this.at)) return false
    this.at += count
    return true
  }

  /** Length of the string or bytes that begin here, which are all there; NaN when they are not. */
  length(): number {
    const length = this.long()
    return length >= 0 && length <= this.end - this.at ? length : Number.NaN
  }
}

/** Writes a safe integer; the position after it. */
export function writeLong(target: Buffer, at: number, value: number): number {
  let position = at
  let rest: number
  if (value < 2 ** 30 && value >= -(2 ** 30)) rest = (value << 1) ^ (value >> 31)
  else {
    const zigzag = value >= 0 ? value * 2 : -value * 2 - 1
    const high = Math.floor(zigzag / LOW_BITS)
    let low = zigzag - high * LOW_BITS
    for (let byte = 0; byte < 4; byte++) {
      target[position++] = (low & 0x7f) | 0x80
      low >>>= 7
    }
    rest = high
  }
  while (rest > 0x7f) {
    target[position++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  target[position++] = rest
  return position
}

/** A string as Avro writes it. */
export function avroString(text: string): Buffer {
  const bytes = Buffer.from(text)
  const target = Buffer.allocUnsafe(MAX_LONG_BYTES + bytes.length)
  const at = writeLong(target, 0, bytes.length)
  return target.subarray(0, at + bytes.copy(target, at))
}
