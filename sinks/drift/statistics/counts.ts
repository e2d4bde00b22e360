/**
 * Counts of records, one per bin: non-negative integers in a plain or typed array. A numeric feature of k bins has k + 3 of them:
 * 0 underflow, 1..k the bins, k + 1 overflow, k + 2 missing. Counts of panes add up; every statistic here is computed from sums.
 */
export type Counts = ArrayLike<number>

/** Counts of a numeric feature without the last one, missing. */
export function presentCounts(counts: Counts): number[] {
  return Array.from(counts).slice(0, -1)
}

/** How many records of a numeric feature have no value: the last count. */
export function missingCount(counts: Counts): number {
  if (counts.length === 0) throw new RangeError('a numeric feature has at least one count')
  return counts[counts.length - 1]!
}

export function totalOf(counts: Counts): number {
  let total = 0
  for (let bin = 0; bin < counts.length; bin++) total += counts[bin]!
  return total
}

/** The sum of panes. @throws RangeError when they differ in length */
export function mergeCounts(panes: Iterable<Counts>): number[] {
  const merged: number[] = []
  let first = true
  for (const pane of panes) {
    if (first) merged.length = pane.length
    if (first) merged.fill(0)
    first = false
    requireSameLength(merged, pane)
    for (let bin = 0; bin < pane.length; bin++) merged[bin]! += pane[bin]!
  }
  return merged
}

/** Share of each bin; NaN everywhere without records. */
export function sharesOf(counts: Counts): Float64Array {
  return smoothedShares(counts, 0)
}

/** Share of each bin with the Jeffreys prior, (c + 1/2) / (N + k/2): positive, adds up to 1, and the prior fades with N. */
export function jeffreysShares(counts: Counts): Float64Array {
  return smoothedShares(counts, 0.5)
}

// A loop, not Float64Array.from: scores of thousands of windows spend their time here.
function smoothedShares(counts: Counts, prior: number): Float64Array {
  const total = totalOf(counts) + counts.length * prior
  const shares = new Float64Array(counts.length)
  for (let bin = 0; bin < shares.length; bin++) shares[bin] = (counts[bin]! + prior) / total
  return shares
}

/** @throws RangeError when two arrays that belong together differ in length */
export function requireSameLength(left: ArrayLike<unknown>, right: ArrayLike<unknown>): void {
  if (left.length !== right.length) {
    throw new RangeError(`arrays of ${left.length} and ${right.length} entries do not belong together`)
  }
}
