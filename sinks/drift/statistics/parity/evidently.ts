/**
 * Evidently 0.7's drift numbers for two samples. Its conventions, not ours: bins over the pooled range, zeros filled side by side, and a
 * documented `n_bins` that has no effect. Missing and infinite values are dropped first.
 */
import { totalOf } from '../counts.ts'
import { normalTwoSided } from '../distributions.ts'
import { jensenShannonOfShares } from '../divergences.ts'
import { deviationOf } from '../losses.ts'
import { type EdgeOptions, finiteOf, histogram, sturgesEdges } from './numpy-bins.ts'
import { chiSquareFit, gTest } from './scipy.ts'
import { wassersteinDistance } from './scipy-distances.ts'

/** Numbers, or categories as text. */
export type Values = ArrayLike<number> | readonly string[]

/**
 * Shares by bin: Sturges' edges over both samples when the reference has more than 20 distinct numbers, otherwise a bin for every value.
 * @param reference at least one value, as `current`
 */
function sharesOf(reference: Values, current: Values, options: EdgeOptions): [Float64Array, Float64Array] {
  if (isNumeric(reference) && isNumeric(current)) {
    const [before, now] = [finiteOf(reference), finiteOf(current)]
    if (new Set(before).size > 20) {
      const edges = sturgesEdges([...before, ...now], options)
      return [histogram(before, edges), histogram(now, edges)].map((counts, side) => {
        return counts.map((count) => count / (side === 0 ? before : now).length)
      }) as [Float64Array, Float64Array]
    }
  }
  const [before, now] = countsByValue(reference, current)
  const [n, m] = [totalOf(before), totalOf(now)]
  return [Float64Array.from(before, (count) => count / n), Float64Array.from(now, (count) => count / m)]
}

/** Empty bins of a side become 0.0001, or a millionth of its smallest share if that is no larger; nothing is normalised afterwards. */
function zerosFilled(shares: Float64Array): Float64Array {
  const smallest = Math.min(...shares.filter((share) => share !== 0))
  return shares.map((share) => (share === 0 ? (smallest <= 0.0001 ? smallest / 1e6 : 0.0001) : share))
}

/** `psi`, natural logarithm. */
export function evidentlyPsi(reference: Values, current: Values, options: EdgeOptions = {}): number {
  const [p, q] = sharesOf(reference, current, options).map(zerosFilled) as [Float64Array, Float64Array]
  return p.reduce((sum, share, bin) => sum + (share - q[bin]!) * Math.log(share / q[bin]!), 0)
}

/** `kl_div`, KL(reference‖current), natural logarithm; the filled shares are normalised, as SciPy's `entropy` does. */
export function evidentlyKlDivergence(reference: Values, current: Values, options: EdgeOptions = {}): number {
  const [p, q] = sharesOf(reference, current, options).map((shares) => {
    const filled = zerosFilled(shares)
    const sum = totalOf(filled)
    return filled.map((share) => share / sum)
  }) as [Float64Array, Float64Array]
  return p.reduce((sum, share, bin) => sum + share * Math.log(share / q[bin]!), 0)
}

/** `jensenshannon`, the distance of base e (at most 0.83255), without zero fill. */
export function evidentlyJensenShannon(reference: Values, current: Values, options: EdgeOptions = {}): number {
  const [p, q] = sharesOf(reference, current, options)
  return jensenShannonOfShares(p, q) * Math.sqrt(Math.LN2)
}

/** `wasserstein`: exact, over the reference's standard deviation (ddof 0), which is taken as at least 0.001. */
export function evidentlyWasserstein(reference: ArrayLike<number>, current: ArrayLike<number>): number {
  const before = finiteOf(reference)
  return wassersteinDistance(before, finiteOf(current)) / Math.max(deviationOf(before), 0.001)
}

/** `hellinger`: for numbers √(1 − Σ√(h₁h₂)·width) of densities in Sturges' bins of the distinct values; for categories of shares. */
export function evidentlyHellinger(reference: Values, current: Values, options: EdgeOptions = {}): number {
  let overlap = 0
  if (isNumeric(reference) && isNumeric(current)) {
    const [before, now] = [finiteOf(reference), finiteOf(current)]
    const edges = sturgesEdges([...new Set([...before, ...now])], options)
    const [h, g] = [histogram(before, edges), histogram(now, edges)]
    const [n, m] = [totalOf(h), totalOf(g)]
    for (let bin = 0; bin < h.length; bin++) overlap += Math.sqrt((h[bin]! / n) * (g[bin]! / m))
  } else {
    const [p, q] = sharesOf(reference, current, options)
    for (let bin = 0; bin < p.length; bin++) overlap += Math.sqrt(p[bin]! * q[bin]!)
  }
  return Math.sqrt(1 - Math.min(1, overlap))
}

/** p-value of `chisquare`: goodness of fit with the reference's shares as if exact; a category new in current gives 0. */
export function evidentlyChiSquare(reference: Values, current: Values): number {
  const [before, now] = countsByValue(reference, current)
  const scale = totalOf(now) / totalOf(before)
  return chiSquareFit(
    now,
    before.map((count) => count * scale),
  ).pValue
}

/** p-value of `g_test`, which takes the reference's counts as they are. @throws RangeError for samples of different size, as SciPy does */
export function evidentlyGTest(reference: Values, current: Values): number {
  const [before, now] = countsByValue(reference, current)
  if (totalOf(before) !== totalOf(now))
    throw new RangeError('the G test needs as many current values as in the reference')
  return gTest(now, before).pValue
}

/** Statistic of `TVD`; its p-value comes from NumPy's random permutations and is not reproduced. */
export function evidentlyTotalVariation(reference: Values, current: Values): number {
  const [before, now] = countsByValue(reference, current)
  const [n, m] = [totalOf(before), totalOf(now)]
  return before.reduce((sum, count, at) => sum + Math.abs(count / n - now[at]! / m), 0) / 2
}

/** p-value of `z`: pooled two-proportion test of "is not the first value in order", two-sided; 1 when both have a single, equal value. */
export function evidentlyZTest(reference: Values, current: Values): number {
  const [before, now] = countsByValue(reference, current)
  if (before.length === 1) return 1
  const [n, m] = [totalOf(before), totalOf(now)]
  const [p, q] = [1 - before[0]! / n, 1 - now[0]! / m]
  const pooled = (p * n + q * m) / (n + m)
  return normalTwoSided((p - q) / Math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)))
}

/** Which test Evidently takes by default: by rows of the reference and distinct values of both. Thresholds: p < 0.05, distances ≥ 0.1. */
export function evidentlyDefault(
  reference: Values,
  current: Values,
): 'ks' | 'chisquare' | 'z' | 'wasserstein' | 'jensenshannon' {
  const [before] = countsByValue(reference, current)
  const distances = totalOf(before) > 1000
  if (isNumeric(reference) && isNumeric(current) && before.length > 5) return distances ? 'wasserstein' : 'ks'
  if (distances) return 'jensenshannon'
  return before.length > 2 ? 'chisquare' : 'z'
}

/** Counts of every value of both samples, values in order. */
function countsByValue(reference: Values, current: Values): [number[], number[]] {
  const counts = new Map<number | string, [number, number]>()
  for (const [side, values] of [reference, current].entries()) {
    for (const value of isNumeric(values) ? finiteOf(values) : Array.from(values)) {
      const pair = counts.get(value) ?? [0, 0]
      counts.set(value, pair)
      pair[side === 0 ? 0 : 1]++
    }
  }
  const ordered = [...counts].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, pair]) => pair)
  return [ordered.map(([before]) => before), ordered.map(([, now]) => now)]
}

function isNumeric(values: Values): values is ArrayLike<number> {
  return typeof values[0] !== 'string'
}
