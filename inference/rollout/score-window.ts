/** What a version did since its window began; fixed memory, and nothing per record but its score. */
export interface ScoreWindow {
  readonly rows: number
  readonly failed: number
  readonly invalid: number
  /** A batch: `scores` are copied, NaN = that row has none. `runMs` = time of the run for all its rows. */
  add(scores: Float32Array, rows: number, failed: number, invalid: number, runMs: number): void
  /** p99 over rows of the time that a row took, µs, to a fifth of it; NaN without rows. */
  p99Us(): number
  /** The latest scores, ascending. */
  sortedScores(): Float32Array
  reset(): void
}

/** Latest scores that are kept. */
export const KEPT_SCORES = 4_096
/** Bins of row times: four to an octave, from 2⁻⁶ µs. */
const PER_OCTAVE = 4
const LOWEST_OCTAVE = -6
const BINS = 160
const P99 = 0.99

export function createScoreWindow(): ScoreWindow {
  const kept = new Float32Array(KEPT_SCORES)
  const times = new Float64Array(BINS)
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
    add(scores, count, failures, invalids, runMs) {
      if (count === 0) return
      rows += count
      failed += failures
      invalid += invalids
      const bin = Math.floor(
        (Math.log2(Math.max((runMs * 1_000) / count, Number.MIN_VALUE)) - LOWEST_OCTAVE) * PER_OCTAVE,
      )
      const place = Math.min(BINS - 1, Math.max(0, bin))
      times[place] = (times[place] as number) + count
      const latest = scores.length > KEPT_SCORES ? scores.subarray(scores.length - KEPT_SCORES) : scores
      const head = latest.subarray(0, KEPT_SCORES - at)
      kept.set(head, at)
      kept.set(latest.subarray(head.length), 0)
      at = (at + latest.length) % KEPT_SCORES
      filled = Math.min(KEPT_SCORES, filled + latest.length)
    },
    p99Us() {
      let below = 0
      for (let bin = 0; bin < BINS; bin++) {
        below += times[bin] as number
        if (rows > 0 && below >= rows * P99) return 2 ** ((bin + 1) / PER_OCTAVE + LOWEST_OCTAVE)
      }
      return Number.NaN
    },
    sortedScores: () =>
      kept
        .subarray(0, filled)
        .filter((score) => !Number.isNaN(score))
        .sort(),
    reset() {
      times.fill(0)
      rows = failed = invalid = filled = at = 0
    },
  }
}
