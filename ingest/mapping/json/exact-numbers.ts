/** Numbers from their text, without a double in between. */

/** Longer texts are refused: no type holds as many digits. */
const MAX_CHARACTERS = 1_000
const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/

const LONG_MIN = -(2n ** 63n)
const LONG_MAX = 2n ** 63n - 1n

/** The number of a JSON number's text times 10^scale; null when that is no whole number, or one with far too many digits. */
export function scaledOf(text: string, scale: number): bigint | null {
  if (text.length > MAX_CHARACTERS) return null
  const [, sign, whole = '', fraction = '', power = '0'] = NUMBER.exec(text) ?? []
  if (sign === undefined) return null
  const digits = whole + fraction
  const trimmed = digits.slice(0, endWithoutZeros(digits))
  if (trimmed === '') return 0n
  const exponent = Number(power) - fraction.length + scale + digits.length - trimmed.length
  if (exponent < 0 || exponent > MAX_CHARACTERS) return null
  const value = BigInt(trimmed) * 10n ** BigInt(exponent)
  return sign === '-' ? -value : value
}

/** Where the zeros begin that the text ends with. A regular expression takes quadratic time for it. */
export function endWithoutZeros(text: string): number {
  let end = text.length
  while (end > 0 && text[end - 1] === '0') end--
  return end
}

export function isLong(value: bigint): boolean {
  return value >= LONG_MIN && value <= LONG_MAX
}

/** Writes any long; the position after it. */
export function writeBigLong(target: Buffer, at: number, value: bigint): number {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  let position = at
  for (; rest > 0x7fn; rest >>= 7n) target[position++] = Number(rest & 0x7fn) | 0x80
  target[position++] = Number(rest)
  return position
}

/** Two's complement, big-endian, in so many bytes; in as few as hold it when `size` is null. Null = it does not fit. */
export function twosComplement(value: bigint, size: number | null): Buffer | null {
  let bytes = 1
  while (BigInt.asIntN(8 * bytes, value) !== value) bytes++
  if (size !== null && bytes > size) return null
  const length = size ?? bytes
  const hex = BigInt.asUintN(8 * length, value)
    .toString(16)
    .padStart(2 * length, '0')
  return Buffer.from(hex, 'hex')
}
