import { corrupt, UnreadableError } from '../errors.ts'
import type { Codec } from './codec.ts'
import { gzip, zstd } from './gzip-zstd.ts'
import { isLz4Installed, lz4 } from './lz4.ts'
import { snappy } from './snappy.ts'

/** In the order of their numbers in a batch's attributes. */
const CODECS = [
  ['none', null],
  ['gzip', gzip],
  ['snappy', snappy],
  ['lz4', lz4],
  ['zstd', zstd],
] as const satisfies readonly (readonly [string, Codec | null])[]

export type Compression = (typeof CODECS)[number][0]

/** LZ4, or none where its native package is not installed. */
export function preferredCompression(): Compression {
  return isLz4Installed() ? 'lz4' : 'none'
}

export function compressionNumber(compression: Compression): number {
  return CODECS.findIndex(([name]) => name === compression)
}

export function compress(number: number, bytes: Buffer): Buffer {
  const codec = CODECS[number]?.[1]
  return codec === undefined || codec === null ? bytes : codec.compress(bytes)
}

/** Throws an `UnreadableError` and nothing else. */
export function decompress(number: number, bytes: Buffer, maxBytes: number): Buffer {
  const entry = CODECS[number]
  if (entry === undefined) throw new UnreadableError('unsupported_records', `codec ${number} is unknown`)
  const [name, codec] = entry
  if (codec === null) return bytes
  try {
    return codec.decompress(bytes, maxBytes)
  } catch (error) {
    throw error instanceof UnreadableError ? error : corrupt(`${name}: ${(error as Error).message}`, error)
  }
}
