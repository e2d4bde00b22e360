import { corrupt } from './errors.ts'

/*
 * Varint (32 bit) and varlong (64 bit): zigzag (0, -1, 1, -2 … become 0, 1, 2, 3 …), then seven bits a byte, lowest first,
 * the high bit set in all but the last byte. At most 5 and 10 bytes.
 */

const MAX_INT32 = 0x7fffffff
/** So many bytes of a varlong are exact as a double. */
const EXACT_BYTES = 7

/**
 * Reads at a position that moves. It may read a few bytes further than the structure it is in, never further than the
 * buffer: the caller compares the position with the structure's end.
 */
export class VarintReader {
  readonly bytes: Buffer
  at: number

  constructor(bytes: Buffer, at: number) {
    this.bytes = bytes
    this.at = at
  }

  varint(): number {
    const first = this.bytes[this.at++] as number
    return first < 0x80 ? (first >>> 1) ^ -(first & 1) : this.longVarint(first)
  }

  private longVarint(first: number): number {
    let value = first & 0x7f
    for (let shift = 7; shift < 35; shift += 7) {
      const byte = this.bytes[this.at++] as number
      if (shift === 28 && byte > 0x0f) break
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
    }
    throw corrupt('a varint is longer than 32 bits')
  }

  /** Exact within ±2^48; the nearest double beyond. */
  varlong(): number {
    const first = this.bytes[this.at++] as number
    return first < 0x80 ? (first >>> 1) ^ -(first & 1) : this.longVarlong(first)
  }

  private longVarlong(first: number): number {
    const start = this.at - 1
    let value = first & 0x7f
    let weight = 0x80
    for (let read = 1; read < EXACT_BYTES; read++) {
      const byte = this.bytes[this.at++] as number
      value += (byte & 0x7f) * weight
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
      weight *= 0x80
    }
    this.at = start
    return this.widestVarlong()
  }

  private widestVarlong(): number {
    let value = 0n
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.bytes[this.at++]
      if (byte === undefined || (shift === 63 && byte > 0x01)) break
      value |= BigInt(byte & 0x7f) << BigInt(shift)
      if (byte < 0x80) return Number((value >> 1n) ^ -(value & 1n))
    }
    throw corrupt('a varlong is longer than 64 bits')
  }
}

export function varintSize(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0
  if (zigzag < 0x80) return 1
  if (zigzag < 0x4000) return 2
  if (zigzag < 0x200000) return 3
  return zigzag < 0x10000000 ? 4 : 5
}

/** The position after it. */
export function writeVarint(target: Buffer, at: number, value: number): number {
  let rest = (value << 1) ^ (value >> 31)
  while (rest > 0x7f || rest < 0) {
    target[at++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  target[at++] = rest
  return at
}

export function varlongSize(value: number): number {
  if (fitsVarint(value)) return varintSize(value)
  let size = 1
  for (let rest = zigzag64(value) >> 7n; rest > 0n; rest >>= 7n) size++
  return size
}

/** The position after it. The value is a safe integer. */
export function writeVarlong(target: Buffer, at: number, value: number): number {
  if (fitsVarint(value)) return writeVarint(target, at, value)
  let rest = zigzag64(value)
  while (rest > 0x7fn) {
    target[at++] = Number(rest & 0x7fn) | 0x80
    rest >>= 7n
  }
  target[at++] = Number(rest)
  return at
}

function fitsVarint(value: number): boolean {
  return value <= MAX_INT32 && value >= -MAX_INT32
}

function zigzag64(value: number): bigint {
  const wide = BigInt(value)
  return wide >= 0n ? wide << 1n : (-wide << 1n) - 1n
}
