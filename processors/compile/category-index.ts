/** Index of a category's value by its bytes, without making a string. */
export interface CategoryIndex {
  /** -1 when the `length` bytes from `start` are none of the values. */
  find(bytes: Buffer, start: number, length: number): number
}

const FNV_BASIS = 0x811c9dc5
const FNV_PRIME = 0x01000193
const REPLACEMENT = '\ufffd'

/**
 * Null for values that other bytes than their own may decode to: those with the replacement character, or half a
 * surrogate pair. An open hash table of FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/.
 */
export function categoryIndex(values: readonly string[]): CategoryIndex | null {
  const encoded = values.map((value) => Buffer.from(value))
  if (encoded.some((bytes) => bytes.toString().includes(REPLACEMENT))) return null
  const size = 2 ** Math.ceil(Math.log2(values.length * 2 + 1))
  const mask = size - 1
  const slots = new Int32Array(size).fill(-1)
  const starts = new Int32Array(values.length)
  const lengths = new Int32Array(values.length)
  const all = Buffer.concat(encoded)
  let at = 0
  for (const [index, bytes] of encoded.entries()) {
    starts[index] = at
    lengths[index] = bytes.length
    at += bytes.length
    let slot = hash(bytes, 0, bytes.length) & mask
    while ((slots[slot] as number) >= 0) slot = (slot + 1) & mask
    slots[slot] = index
  }
  return {
    find(bytes, start, length) {
      for (let slot = hash(bytes, start, length) & mask; ; slot = (slot + 1) & mask) {
        const index = slots[slot] as number
        if (index < 0) return -1
        if (lengths[index] !== length) continue
        const from = starts[index] as number
        let same = 0
        while (same < length && bytes[start + same] === all[from + same]) same++
        if (same === length) return index
      }
    },
  }
}

function hash(bytes: Buffer, start: number, length: number): number {
  let value = FNV_BASIS
  for (let at = 0; at < length; at++) value = Math.imul(value ^ (bytes[start + at] as number), FNV_PRIME)
  return value ^ (value >>> 15)
}
