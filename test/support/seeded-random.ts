/** Numbers that a seed repeats. */
export interface SeededRandom {
  /** In [0, 1). */
  next(): number
  /** A whole number in [from, to]. */
  between(from: number, to: number): number
  /** Throws a RangeError for an empty list. */
  pick<T>(items: readonly T[]): T
  chance(probability: number): boolean
  /** Another sequence, fixed by this one's seed and the name alone, however far this one has come. */
  fork(name: string): SeededRandom
}

/** mulberry32 (Tommy Ettinger, public domain): 32 bits of state are enough for a plan of faults. */
export function seededRandom(seed: number): SeededRandom {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    next,
    between: (from, to) => from + Math.floor(next() * (to - from + 1)),
    pick<T>(items: readonly T[]): T {
      if (items.length === 0) throw new RangeError('nothing to pick from')
      return items[Math.floor(next() * items.length)] as T
    },
    chance: (probability) => next() < probability,
    fork(name) {
      let hash = seed >>> 0
      for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193) >>> 0
      return seededRandom(hash)
    },
  }
}
