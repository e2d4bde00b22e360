import { crc32c as castagnoli } from '@node-rs/crc32'

/** CRC-32C (Castagnoli) of the bytes, unsigned. */
export function crc32c(bytes: Buffer): number {
  return castagnoli(bytes)
}
