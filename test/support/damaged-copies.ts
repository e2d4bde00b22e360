import type { SeededRandom } from './seeded-random.ts'

const BLOCK_BYTES = 64
const LARGEST_SPLICE = 4_096

type Damage = (bytes: Buffer, random: SeededRandom) => Buffer

export const DAMAGES = {
  flip(bytes, random) {
    const copy = Buffer.from(bytes)
    const at = random.between(0, copy.length - 1)
    copy[at] = (copy[at] as number) ^ (1 << random.between(0, 7))
    return copy
  },
  truncate: (bytes, random) => bytes.subarray(0, random.between(0, bytes.length - 1)),
  zero(bytes, random) {
    const copy = Buffer.from(bytes)
    const at = random.between(0, copy.length - BLOCK_BYTES)
    return copy.fill(0, at, at + BLOCK_BYTES)
  },
  splice(bytes, random) {
    const length = random.between(1, LARGEST_SPLICE)
    const [from, to] = [0, 0].map(() => random.between(0, bytes.length - length)) as [number, number]
    const copy = Buffer.from(bytes)
    bytes.copy(copy, to, from, from + length)
    return copy
  },
} satisfies Readonly<Record<string, Damage>>

/** A copy that differs from the bytes, damaged as disks, networks and people do it. */
export function damagedCopy(bytes: Buffer, kind: keyof typeof DAMAGES, random: SeededRandom): Buffer {
  for (;;) {
    const copy = DAMAGES[kind](bytes, random)
    if (!copy.equals(bytes)) return copy
  }
}
