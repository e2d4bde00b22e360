/** What a version did since its window began; fixed memory, and nothing per record but its score. */
export interface ScoreWindow {
  readonly rows: number
  readonly failed: number
  readonly invalid: number
  /**
   * A batch: `scores` are copied, NaN = that row has none. `runMs` = what runs took for its rows, `runRows` = rows of such a run, those
   * of other batches included.
   */
  add(scores: Float32Array, rows: number, failed: number, invalid: number, runMs: number, runRows: number): void
  /** Rows that were in runs of 2^octave rows and more, and fewer than twice as many; the last octave has all above it. */
  rowsIn(octave: number): number
  /** p99 over those rows of the time that a row took, µs, to a fifth of it; NaN without rows. */
  p99Us(octave: number): number
  /** The latest scores, ascending. */
  sortedScores(): Float32Array
  reset(): void
}

/** Latest scores that are kept. */
export const KEPT_SCORES = 4_096
/** Octaves of the rows of a run. */
export const OCTAVES = 16
/** Bins of row times: four to an octave, from 2⁻⁶ µs. */
const PER_OCTAVE = 4
const LOWEST_OCTAVE = -6
const BINS = 160
const P99 = 0.99

export function createScoreWindow(): ScoreWindow {
  const kept = new Float32Array(KEPT_SCORES)
  const times = Array.from({ length: OCTAVES }, () => new Float64Array(BINS))
  const sizes = new Float64Array(OCTAVES)
  let [rows, failed, invalid, filled, at] = [0, 0, 0, 0, 0]

  return {
    get rows() {
      return rows
    },
    get failed() {
      return failed
    },
    get invalid() {
      return invalid
    },
    add(scores, count, failures, invalids, runMs, runRows) {
      if (count === 0) return
      rows += count
      failed += failures
      invalid += invalids
      const bin = Math.floor(
        (Math.log2(Math.max((runMs * 1_000) / count, Number.MIN_VALUE)) - LOWEST_OCTAVE) * PER_OCTAVE,
      )
      const place = Math.min(BINS - 1, Math.max(0, bin))
      const octave = Math.min(OCTAVES - 1, Math.floor(Math.log2(Math.max(1, runRows))))
      const ofSize = times[octave] as Float64Array
      ofSize[place] = (ofSize[place] as number) + count
      sizes[octave] = (sizes[octave] as number) + count
      const latest = scores.length > KEPT_SCORES ? scores.subarray(scores.length - KEPT_SCORES) : scores
      const head = latest.subarray(0, KEPT_SCORES - at)
      kept.set(head, at)
      kept.set(latest.subarray(head.length), 0)
      at = (at + latest.length) % KEPT_SCORES
      filled = Math.min(KEPT_SCORES, filled + latest.length)
    },
    rowsIn: (octave) => sizes[octave] as number,
    p99Us(octave) {
      const [ofSize, all] = [times[octave] as Float64Array, sizes[octave] as number]
      let below = 0
      for (let bin = 0; bin < BINS; bin++) {
        below += ofSize[bin] as number
        if (all > 0 && below >= all * P99) return 2 ** ((bin + 1) / PER_OCTAVE + LOWEST_OCTAVE)
      }
      return Number.NaN
    },
    sortedScores: () =>
      kept
        .subarray(0, filled)
        .filter((score) => !Number.isNaN(score))
        .sort(),
    reset() {
      for (const ofSize of times) ofSize.fill(0)
      sizes.fill(0)
      rows = failed = invalid = filled = at = 0
    },
  }
}
