import { UnreadableError } from '../errors.ts'

/** One way to compress the records of a batch; holds nothing, may be called from anywhere. */
export interface Codec {
  compress(bytes: Buffer): Buffer
  /** Throws on malformed input, and `records_too_large` before or as soon as the result exceeds `maxBytes`. */
  decompress(bytes: Buffer, maxBytes: number): Buffer
}

export function tooLarge(maxBytes: number): UnreadableError {
  return new UnreadableError('records_too_large', `it decompresses to more than ${maxBytes} bytes`)
}
