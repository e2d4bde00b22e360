/** Buckets of entities: shares and weights count in them. */
export const BUCKETS = 10_000

/**
 * The bucket of the bytes [start, end), 0 to 9,999: the same for one seed in every process and at every replay, and spread evenly,
 * independently for each seed. An entity is in a share of weight w when its bucket is below w, so it stays in while w grows.
 *
 * MurmurHash3_x86_32 by Austin Appleby (public domain, github.com/aappleby/smhasher, MurmurHash3.cpp), scaled to the number of
 * buckets by its upper bits: ⌊hash · 10,000 / 2³²⌋.
 */
export function entityBucket(bytes: Uint8Array, start: number, end: number, seed: number): number {
  return Math.floor((murmur3(bytes, start, end, seed) * BUCKETS) / 2 ** 32)
}

const C1 = 0xcc9e2d51
const C2 = 0x1b873593

/** MurmurHash3_x86_32 of the bytes [start, end), 0 to 2³² − 1. */
export function murmur3(bytes: Uint8Array, start: number, end: number, seed: number): number {
  const length = end - start
  const tail = start + (length & ~3)
  let h = seed | 0
  let at = start
  for (; at < tail; at += 4) {
    const k =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    h ^= mixed(k)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  let k = 0
  for (let left = length & 3; left > 0; left--) k = (k << 8) | (bytes[at + left - 1] as number)
  if ((length & 3) > 0) h ^= mixed(k)
  h ^= length
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function mixed(k: number): number {
  const first = Math.imul(k, C1)
  return Math.imul((first << 15) | (first >>> 17), C2)
}

const HEX_OF_32_BITS = 8

/** The seed of a version's shares: the first 32 bits of the SHA-256 (hex) of its model file. */
export function shareSeed(digest: string): number {
  return Number.parseInt(digest.slice(0, HEX_OF_32_BITS), 16)
}
