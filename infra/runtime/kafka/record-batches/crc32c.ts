import { createRequire } from 'node:module'

type Crc32c = typeof import('@node-rs/crc32').crc32c

let castagnoli: Crc32c | null = null

/**
 * CRC-32C (Castagnoli) of the bytes, unsigned. The package is loaded when the first batch needs it: it is native, and npm
 * leaves its binary out with optional packages. Throws then, naming the package.
 */
export function crc32c(bytes: Buffer): number {
  castagnoli ??= load()
  return castagnoli(bytes)
}

function load(): Crc32c {
  return (createRequire(import.meta.url)('@node-rs/crc32') as { readonly crc32c: Crc32c }).crc32c
}
