/**
 * What alibi-detect's tabular detectors report for two samples, written from its documentation and the papers it names, not from its code:
 * a Kolmogorov–Smirnov test for each number, χ² of a contingency table for each category, and one verdict for all of them.
 */
import { chiSquareContingency } from '../chi-square.ts'
import { quantileOf } from '../window-thresholds.ts'
import { type KsTest, ksTwoSample } from './scipy-ks.ts'

/** `KSDrift` of one feature: SciPy's two-sided test, exact for up to 10,000 rows. */
export function alibiKs(reference: ArrayLike<number>, current: ArrayLike<number>): KsTest {
  return ksTwoSample(reference, current)
}

/** `ChiSquareDrift` of one feature, from counts by category: contingency table, Yates' correction for two. */
export function alibiChiSquare(reference: ArrayLike<number>, current: ArrayLike<number>): KsTest {
  const { statistic, pValue } = chiSquareContingency(reference, current)
  return { statistic, pValue }
}

/** `TabularDrift`'s verdict over features: Bonferroni (smallest p < p / d) or false discovery rate, both with a strict `<`. */
export function alibiVerdict(
  pValues: readonly number[],
  options: { readonly correction: 'bonferroni' | 'fdr'; readonly level?: number },
): { readonly isDrift: boolean; readonly threshold: number } {
  const level = options.level ?? 0.05
  const single = level / pValues.length
  if (options.correction === 'bonferroni') return { isDrift: Math.min(...pValues) < single, threshold: single }
  const bars = pValues.toSorted((left, right) => left - right).map((p, at) => ({ p, bar: single * (at + 1) }))
  const last = bars.findLast(({ p, bar }) => p < bar)
  return { isDrift: last !== undefined, threshold: last?.bar ?? single }
}

/**
 * Statistic of `MMDDrift`: unbiased MMD² of a Gaussian kernel (Gretton et al. 2012, equation 3), whose width is σ = √(½·median of squared
 * distances between distinct pooled rows) unless given. O(rows²). Its p-value comes from random permutations and is not reproduced.
 */
export function alibiMmd(
  reference: readonly ArrayLike<number>[],
  current: readonly ArrayLike<number>[],
  sigma?: number,
): number {
  const pooled = [...reference, ...current]
  const width = sigma ?? medianWidth(pooled)
  const kernel = (x: ArrayLike<number>, y: ArrayLike<number>): number =>
    Math.exp(-squaredDistance(x, y) / (2 * width * width))
  const within = (rows: readonly ArrayLike<number>[]): number => {
    let sum = 0
    for (const [i, row] of rows.entries()) for (let j = 0; j < i; j++) sum += 2 * kernel(row, rows[j]!)
    return sum / (rows.length * (rows.length - 1))
  }
  let between = 0
  for (const x of reference) for (const y of current) between += kernel(x, y)
  return within(reference) + within(current) - (2 * between) / (reference.length * current.length)
}

function medianWidth(rows: readonly ArrayLike<number>[]): number {
  const squares = rows.flatMap((row, i) => rows.slice(i + 1).map((other) => squaredDistance(row, other)))
  return Math.sqrt(quantileOf(squares, 0.5) / 2)
}

function squaredDistance(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0
  for (let at = 0; at < x.length; at++) sum += (x[at]! - y[at]!) ** 2
  return sum
}
