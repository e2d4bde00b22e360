/** Shares what a process may hold of fetched records out among all lanes that it owns, of whatever topic. */
export interface LaneMemory {
  /** `owned` = how many lanes a source owns at the moment. What it answers says how many bytes each may hold, at the moment. */
  share(owned: () => number): () => number
}

interface LaneMemoryLimits {
  /** Resident memory of the process. */
  readonly maxMemoryBytes: number
  /** Of one lane, however few there are. */
  readonly maxLaneBytes: number
}

/** Of a process that holds nothing: code, the heap's young generation, and what waits to be collected. */
const BASE_BYTES = 268_435_456
/** What becomes of a fetched byte at its worst: a decoded row, the same as text, and the body of a request. */
const HELD_AS = 4
/** With less, fetches would be too small to be worth their round trips. */
const LEAST_LANE_BYTES = 65_536

export function createLaneMemory({ maxMemoryBytes, maxLaneBytes }: LaneMemoryLimits): LaneMemory {
  const heldBytes = (maxMemoryBytes - BASE_BYTES) / HELD_AS
  const sources: (() => number)[] = []
  return {
    share(owned) {
      sources.push(owned)
      return () => {
        const lanes = sources.reduce((sum, count) => sum + count(), 0)
        const share = Math.floor(heldBytes / Math.max(1, lanes))
        return Math.min(maxLaneBytes, Math.max(LEAST_LANE_BYTES, share))
      }
    },
  }
}
