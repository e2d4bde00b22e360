/*
 * avsc 5.7.9 refuses a long that is no safe integer, and with it the whole record; some from 2^52 on it reads as others.
 * Here a long that is no safe integer is a bigint, and every other one a number as before; both can be written.
 */

interface Tap {
  readonly buf: Buffer
  pos: number
  readLong(): number
  writeLong(value: number): void
}

/** What avsc's own declarations leave out. */
interface LongType {
  _check(value: unknown, flags: unknown, hook: ((value: unknown, type: unknown) => void) | undefined): boolean
  _read(tap: Tap): unknown
  _write(tap: Tap, value: unknown): void
}

/** The library adds up the zigzag form in a double: from here on it may be another number. */
const EXACT_END = 2 ** 52
const MAX_BYTES = 10
const MIN = -(2n ** 63n)
const MAX = 2n ** 63n - 1n

interface UnionType {
  readonly _bucketIndices: { readonly number?: number }
  _getIndex(value: unknown): number | undefined
}

/** Mends avsc's long type, and the unions that it is in, for the whole process. */
export function exactLongs(types: { readonly LongType: object; readonly UnwrappedUnionType: object }): void {
  const union = (types.UnwrappedUnionType as { readonly prototype: UnionType }).prototype
  const { _getIndex: indexOf } = union
  union._getIndex = function (value) {
    return typeof value === 'bigint' ? this._bucketIndices.number : indexOf.call(this, value)
  }
  const { prototype } = types.LongType as { readonly prototype: LongType }
  const { _check: check, _write: write } = prototype
  prototype._check = function (value, flags, hook) {
    return isLargeLong(value) || check.call(this, value, flags, hook)
  }
  prototype._read = (tap) => {
    const start = tap.pos
    const value = tap.readLong()
    return Math.abs(value) < EXACT_END ? value : readLarge(tap, start)
  }
  prototype._write = function (tap, value) {
    if (isLargeLong(value)) writeLarge(tap, BigInt(value))
    else write.call(this, tap, value)
  }
}

function isLargeLong(value: unknown): value is number | bigint {
  if (typeof value === 'number') return Math.abs(value) >= EXACT_END && Number.isSafeInteger(value)
  return typeof value === 'bigint' && value >= MIN && value <= MAX
}

function readLarge(tap: Tap, start: number): number | bigint {
  const { buf, pos } = tap
  const bytes = pos - start
  if (pos > buf.length) return 0
  if (bytes > MAX_BYTES || (bytes === MAX_BYTES && (buf[pos - 1] as number) > 1)) {
    throw new RangeError('a long has more than 64 bits')
  }
  let zigzag = 0n
  for (let at = pos - 1; at >= start; at--) zigzag = (zigzag << 7n) | BigInt((buf[at] as number) & 0x7f)
  const value = (zigzag >> 1n) ^ -(zigzag & 1n)
  const near = Number(value)
  return Number.isSafeInteger(near) ? near : value
}

/** Past the end of the buffer the library sees for itself that the record did not fit. */
function writeLarge(tap: Tap, value: bigint): void {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  for (; rest > 0x7fn; rest >>= 7n) tap.buf[tap.pos++] = Number(rest & 0x7fn) | 0x80
  tap.buf[tap.pos++] = Number(rest)
}
