/**
 * A bounded table from rows to their outputs, in typed arrays: no object per row, and no memory is touched before it is
 * used. Open addressing within a set of eight slots; a full set loses a row by CLOCK: one that was found since the hand
 * last came by stays, one that never was goes first. So an unlucky hash costs hits, never time or right answers: rows are
 * stored and compared in full.
 *
 * Two rows are the same when their bits are; -0 counts as 0, and every NaN as the same missing value.
 */
export interface RowTable {
  /** Reads the row at word `at`: its hash, which `find` and `put` take. They are about the row that was read last. */
  read(words: Int32Array, at: number): number
  /** Whether the row that was read last is the one at word `at`. */
  isSame(words: Int32Array, at: number): boolean
  /** Its slot, or -1. */
  find(hash: number): number
  /** Copies the outputs of a slot to `outputs[at…]`; the rows of the run that answered it. */
  copy(slot: number, outputs: Float32Array, at: number): number
  /** Keeps `outputs[at…]` for it. */
  put(hash: number, outputs: Float32Array, at: number, batchRows: number): void
  clear(): void
}

export interface RowTableOptions {
  /** Features per row. */
  readonly width: number
  readonly outputWidth: number
  readonly maxBytes: number
  /** Of `width` words, 32 bits. */
  readonly hash?: (words: Int32Array, width: number) => number
}

const WAYS = 8
const EMPTY = 0
const KEPT = 1
const FOUND = 2
const MINUS_ZERO = -0x8000_0000
const MAGNITUDE = 0x7fff_ffff
const INFINITY = 0x7f80_0000
const NAN = 0x7fc0_0000

export function createRowTable({ width, outputWidth, maxBytes, hash = hashWords }: RowTableOptions): RowTable {
  /** Words of a slot: the row, its outputs, the rows of its run. */
  const stride = width + outputWidth + 1
  const sets = Math.max(1, Math.floor(maxBytes / (4 * WAYS * (stride + 2) + 1)))
  const slots = new Int32Array(sets * WAYS * stride)
  const answers = new Float32Array(slots.buffer)
  /** Of each set: the hashes of its slots, then their states. One cache line, where most rows that are absent end. */
  const tags = new Int32Array(sets * WAYS * 2)
  const hands = new Uint8Array(sets)
  const row = new Int32Array(width)

  const setOf = (wanted: number): number => Math.floor(((wanted >>> 0) / 2 ** 32) * sets)
  const stateOf = (slot: number): number => slot + (slot & -WAYS) + WAYS

  function locate(wanted: number): number {
    const first = setOf(wanted) * WAYS
    for (let slot = first; slot < first + WAYS; slot++) {
      const state = stateOf(slot)
      if (tags[state - WAYS] === wanted && tags[state] !== EMPTY && holds(slot)) return slot
    }
    return -1
  }

  function holds(slot: number): boolean {
    const from = slot * stride
    for (let at = 0; at < width; at++) if (slots[from + at] !== row[at]) return false
    return true
  }

  /** An empty slot of the set, or the one that has to go. */
  function free(wanted: number): number {
    const set = setOf(wanted)
    const first = set * WAYS
    for (let slot = first; slot < first + WAYS; slot++) if (tags[stateOf(slot)] === EMPTY) return slot
    for (let hand = hands[set] as number; ; hand = (hand + 1) % WAYS) {
      const state = stateOf(first + hand)
      if (tags[state] === KEPT) {
        hands[set] = (hand + 1) % WAYS
        return first + hand
      }
      tags[state] = KEPT
    }
  }

  return {
    read(words, from) {
      for (let at = 0; at < width; at++) row[at] = canonical(words[from + at] as number)
      return hash(row, width) | 0
    },
    isSame(words, from) {
      for (let at = 0; at < width; at++) if (canonical(words[from + at] as number) !== row[at]) return false
      return true
    },
    find(wanted) {
      const slot = locate(wanted)
      if (slot >= 0) tags[stateOf(slot)] = FOUND
      return slot
    },
    copy(slot, outputs, at) {
      const from = slot * stride + width
      for (let output = 0; output < outputWidth; output++) outputs[at + output] = answers[from + output] as number
      return slots[from + outputWidth] as number
    },
    put(wanted, outputs, at, batchRows) {
      let slot = locate(wanted)
      if (slot < 0) {
        slot = free(wanted)
        const state = stateOf(slot)
        tags[state] = KEPT
        tags[state - WAYS] = wanted
        slots.set(row, slot * stride)
      }
      const to = slot * stride + width
      for (let output = 0; output < outputWidth; output++) answers[to + output] = outputs[at + output] as number
      slots[to + outputWidth] = batchRows
    },
    clear: () => void tags.fill(EMPTY),
  }
}

function canonical(word: number): number {
  if (word === MINUS_ZERO) return 0
  return (word & MAGNITUDE) > INFINITY ? NAN : word
}

/** Two chains side by side, since one waits for its own multiplications; then as MurmurHash3 ends. */
function hashWords(words: Int32Array, width: number): number {
  let even = 0x9e37_79b1
  let odd = 0x85eb_ca6b
  let at = 0
  for (; at + 1 < width; at += 2) {
    even = Math.imul(even ^ (words[at] as number), 0x85eb_ca6b)
    even ^= even >>> 15
    odd = Math.imul(odd ^ (words[at + 1] as number), 0xc2b2_ae35)
    odd ^= odd >>> 15
  }
  if (at < width) even = Math.imul(even ^ (words[at] as number), 0x85eb_ca6b)
  let mixed = even ^ ((odd << 13) | (odd >>> 19))
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35)
  return mixed ^ (mixed >>> 16)
}
