/** Distances of two samples by their values, as SciPy 1.17 has them: O(n log n), NaN makes NaN, and so does an empty sample. */

/** `ks_2samp(x, y).statistic`: max |F − G| of right-continuous distribution functions, so ties are fine. */
export function ksDistance(x: ArrayLike<number>, y: ArrayLike<number>): number {
  if (!isComparable(x, y)) return Number.NaN
  let largest = 0
  for (const { gap } of gapsOf(x, y)) largest = Math.max(largest, Math.abs(gap))
  return largest
}

/** `wasserstein_distance(x, y)`: ∫ |F − G| dx. */
export function wassersteinDistance(x: ArrayLike<number>, y: ArrayLike<number>): number {
  if (!isComparable(x, y)) return Number.NaN
  let area = 0
  for (const { gap, width } of gapsOf(x, y)) if (width > 0) area += Math.abs(gap) * width
  return area
}

/** `energy_distance(x, y)`: √(2 ∫ (F − G)² dx). */
export function energyDistance(x: ArrayLike<number>, y: ArrayLike<number>): number {
  if (!isComparable(x, y)) return Number.NaN
  let area = 0
  for (const { gap, width } of gapsOf(x, y)) if (width > 0) area += gap ** 2 * width
  return Math.sqrt(2 * area)
}

/** F − G from each pooled value up to the next. */
function* gapsOf(x: ArrayLike<number>, y: ArrayLike<number>): Generator<{ gap: number; width: number }> {
  const left = Float64Array.from(x).sort()
  const right = Float64Array.from(y).sort()
  let i = 0
  let j = 0
  while (i < left.length || j < right.length) {
    const at = Math.min(left[i] ?? Number.POSITIVE_INFINITY, right[j] ?? Number.POSITIVE_INFINITY)
    while (i < left.length && left[i]! <= at) i++
    while (j < right.length && right[j]! <= at) j++
    const next = Math.min(left[i] ?? Number.POSITIVE_INFINITY, right[j] ?? Number.POSITIVE_INFINITY)
    const last = i === left.length && j === right.length
    yield { gap: i / left.length - j / right.length, width: last ? 0 : next - at }
  }
}

function isComparable(x: ArrayLike<number>, y: ArrayLike<number>): boolean {
  const hasNaN = (values: ArrayLike<number>): boolean => Array.from(values).some(Number.isNaN)
  return x.length > 0 && y.length > 0 && !hasNaN(x) && !hasNaN(y)
}
