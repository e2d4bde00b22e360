/** Tests of two samples with SciPy 1.17's conventions, from their formulas. */
import { midranks } from '../auc.ts'
import { requireSameLength } from '../counts.ts'
import { chiSquareSurvival, normalCdf, studentTwoSided } from '../distributions.ts'
import { deviationOf, meanOf } from '../losses.ts'
import { symmetricEigen } from '../symmetric-eigen.ts'
import { quantileOf } from '../window-thresholds.ts'

export interface StatisticalTest {
  readonly statistic: number
  readonly pValue: number
}

/** `chisquare(observed, expected)`: goodness of fit, k − 1 degrees of freedom; a bin that is expected empty but is not gives ∞ and p 0. */
export function chiSquareFit(observed: ArrayLike<number>, expected: ArrayLike<number>): StatisticalTest {
  return powerDivergence(observed, expected, (o, e) => (o === e ? 0 : (o - e) ** 2 / e))
}

/** `power_divergence(observed, expected, lambda_='log-likelihood')`: the G test, 2 Σ o·ln(o / e). */
export function gTest(observed: ArrayLike<number>, expected: ArrayLike<number>): StatisticalTest {
  return powerDivergence(observed, expected, (o, e) => (o === 0 ? 0 : 2 * o * Math.log(o / e)))
}

/** `ttest_ind(x, y)`: Student's t with pooled variance, two-sided. */
export function studentTest(x: ArrayLike<number>, y: ArrayLike<number>): StatisticalTest {
  const [n, m] = [x.length, y.length]
  const pooled = ((n - 1) * deviationOf(x, 1) ** 2 + (m - 1) * deviationOf(y, 1) ** 2) / (n + m - 2)
  const statistic = (meanOf(x) - meanOf(y)) / Math.sqrt(pooled * (1 / n + 1 / m))
  return { statistic, pValue: studentTwoSided(statistic, n + m - 2) }
}

/** `mannwhitneyu(x, y, alternative, method='asymptotic')`: normal with ties and a continuity correction; `less`: x is the smaller. */
export function mannWhitney(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  alternative: 'less' | 'two-sided',
): StatisticalTest {
  const [n, m] = [x.length, y.length]
  const pooled = [...Array.from(x), ...Array.from(y)]
  const statistic =
    midranks(pooled)
      .subarray(0, n)
      .reduce((sum, rank) => sum + rank, 0) -
    (n * (n + 1)) / 2
  let ties = 0
  for (const times of tally(pooled).values()) ties += times ** 3 - times
  const deviation = Math.sqrt(((n * m) / 12) * (n + m + 1 - ties / ((n + m) * (n + m - 1))))
  if (alternative === 'less') {
    return { statistic, pValue: normalCdf((statistic - (n * m) / 2 + 0.5) / deviation) }
  }
  const above = Math.max(statistic, n * m - statistic)
  return { statistic, pValue: Math.min(1, 2 * normalCdf(-(above - (n * m) / 2 - 0.5) / deviation)) }
}

// Scholz and Stephens (1987), table 2, with SciPy's two added levels.
const LEVELS = [0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001]
const B0 = [0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085]
const B1 = [-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615]
const B2 = [-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154]

/**
 * `anderson_ksamp([x, y])` with midranks (Scholz and Stephens 1987, equation 7): the standardised statistic; the p-value is that of a parabola
 * through the logarithms of the tabulated levels, kept between 0.001 and 0.25.
 */
export function andersonDarling(x: ArrayLike<number>, y: ArrayLike<number>): StatisticalTest {
  const samples = [Float64Array.from(x).sort(), Float64Array.from(y).sort()]
  const total = x.length + y.length
  const pooled = [...tally([...Array.from(x), ...Array.from(y)])].sort(([left], [right]) => left - right)
  let raw = 0
  for (const sample of samples) {
    const own = tally(sample)
    let [sum, before, ownBefore] = [0, 0, 0]
    for (const [value, times] of pooled) {
      const ownTimes = own.get(value) ?? 0
      const middle = before + times / 2
      const gap = total * (ownBefore + ownTimes / 2) - sample.length * middle
      sum += ((times / total) * gap ** 2) / (middle * (total - middle) - (total * times) / 4)
      before += times
      ownBefore += ownTimes
    }
    raw += sum / sample.length
  }
  const statistic = ((raw * (total - 1)) / total - 1) / andersonDeviation(x.length, y.length)
  const critical = LEVELS.map((_, level) => B0[level]! + B1[level]! + B2[level]!)
  const [a, b, c] = parabola(critical, LEVELS.map(Math.log))
  const pValue = Math.exp(a * statistic ** 2 + b * statistic + c)
  return { statistic, pValue: Math.min(0.25, Math.max(0.001, pValue)) }
}

/** Standard deviation of the two-sample statistic, equation 4. */
function andersonDeviation(n: number, m: number): number {
  const total = n + m
  const inverse = 1 / n + 1 / m
  let [h, g, tail] = [0, 0, 0]
  for (let i = 1; i < total; i++) h += 1 / i
  // g = Σ_{i < j < N} 1 / ((N − i) j), the inner sum grown from the far end.
  for (let i = total - 2; i >= 1; i--) {
    tail += 1 / (i + 1)
    g += tail / (total - i)
  }
  const a = 4 * g - 6 + (10 - 6 * g) * inverse
  const b = (2 * g - 4) * 4 + 16 * h + (2 * g - 14 * h - 4) * inverse - 8 * h + 4 * g - 6
  const c = (6 * h + 2 * g - 2) * 4 + (4 * h - 4 * g + 6) * 2 + (2 * h - 6) * inverse + 4 * h
  const d = (2 * h + 6) * 4 - 8 * h
  return Math.sqrt((a * total ** 3 + b * total ** 2 + c * total + d) / ((total - 1) * (total - 2) * (total - 3)))
}

/** `epps_singleton_2samp(x, y)`: empirical characteristic functions at 0.4 and 0.8 over half the pooled interquartile range. */
export function eppsSingleton(x: ArrayLike<number>, y: ArrayLike<number>): StatisticalTest {
  const [n, m] = [x.length, y.length]
  const pooled = [...Array.from(x), ...Array.from(y)]
  const sigma = (quantileOf(pooled, 0.75) - quantileOf(pooled, 0.25)) / 2
  const points = [0.4 / sigma, 0.8 / sigma]
  const waves = (values: ArrayLike<number>): Float64Array[] =>
    [Math.cos, Math.sin].flatMap((wave) => points.map((t) => Float64Array.from(values, (value) => wave(t * value))))
  const [left, right] = [waves(x), waves(y)]
  const gaps = left.map((wave, i) => meanOf(wave) - meanOf(right[i]!))
  const covariance = Float64Array.from({ length: 16 }, (_, at) => {
    const [i, j] = [Math.floor(at / 4), at % 4]
    return (n + m) * (covarianceOf(left[i]!, left[j]!) / n + covarianceOf(right[i]!, right[j]!) / m)
  })
  const { values, vectors } = symmetricEigen(covariance, 4)
  let statistic = 0
  let rank = 0
  for (const [i, value] of values.entries()) {
    if (value <= 1e-15 * values[0]!) continue
    rank++
    statistic += ((n + m) * gaps.reduce((sum, gap, k) => sum + gap * vectors[i]![k]!, 0) ** 2) / value
  }
  const small = 1 / (1 + (n + m) ** -0.45 + 10.1 * (n ** -1.7 + m ** -1.7))
  if (Math.max(n, m) < 25) statistic *= small
  return { statistic, pValue: chiSquareSurvival(statistic, rank) }
}

function covarianceOf(left: Float64Array, right: Float64Array): number {
  const [a, b] = [meanOf(left), meanOf(right)]
  return meanOf(left.map((value, at) => (value - a) * (right[at]! - b)))
}

function powerDivergence(
  observed: ArrayLike<number>,
  expected: ArrayLike<number>,
  term: (observed: number, expected: number) => number,
): StatisticalTest {
  requireSameLength(observed, expected)
  let statistic = 0
  for (let bin = 0; bin < observed.length; bin++) statistic += term(observed[bin]!, expected[bin]!)
  return { statistic, pValue: chiSquareSurvival(statistic, observed.length - 1) }
}

function tally(values: Iterable<number>): Map<number, number> {
  const times = new Map<number, number>()
  for (const value of values) times.set(value, (times.get(value) ?? 0) + 1)
  return times
}

/** Least-squares parabola a·x² + b·x + c, by Gram–Schmidt so that nothing is lost to the powers. */
function parabola(x: readonly number[], y: readonly number[]): [a: number, b: number, c: number] {
  const mean = meanOf(x)
  const u = x.map((value) => value - mean)
  const skew = meanOf(u.map((value) => value ** 3)) / meanOf(u.map((value) => value ** 2))
  const spread = meanOf(u.map((value) => value ** 2))
  const v = u.map((value) => value ** 2 - skew * value - spread)
  const onto = (basis: readonly number[]): number =>
    meanOf(basis.map((value, at) => value * y[at]!)) / meanOf(basis.map((value) => value ** 2))
  const [first, second] = [onto(u), onto(v)]
  const slope = first - second * skew
  // y ≈ ȳ + slope·(x − mean) + second·((x − mean)² − spread)
  return [second, slope - 2 * second * mean, meanOf(y) - slope * mean + second * (mean ** 2 - spread)]
}
