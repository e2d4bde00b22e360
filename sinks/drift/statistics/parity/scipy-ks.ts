/** p-values of the two-sample Kolmogorov–Smirnov test as SciPy 1.17's `ks_2samp` has them, two-sided. */
import { logGamma } from '../gamma.ts'
import { ksDistance } from './scipy-distances.ts'

export interface KsTest {
  readonly statistic: number
  readonly pValue: number
}

/** `auto` is exact up to 10,000 records on the larger side (up to 10⁸ steps when sizes differ), else the finite-n limit `asymp`. */
export function ksTwoSample(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  method: 'auto' | 'exact' | 'asymp' = 'auto',
): KsTest {
  const statistic = ksDistance(x, y)
  return { statistic, pValue: ksPValue(statistic, x.length, y.length, method) }
}

/** Of a distance that is known. */
export function ksPValue(d: number, n: number, m: number, method: 'auto' | 'exact' | 'asymp' = 'auto'): number {
  if (Number.isNaN(d)) return Number.NaN
  const exact = method === 'exact' || (method === 'auto' && Math.max(n, m) <= 10_000)
  if (!exact) return ksOneSampleSurvival(d, roundEven((n * m) / (n + m)))
  const steps = Math.round(d * n * m)
  if (steps === 0) return 1
  return n === m ? outsideSquare(n, Math.round(steps / n)) : outsideBand(n, m, steps)
}

/**
 * Share of lattice paths from (0, 0) to (n, n) that reach |i − j| ≥ h, by reflection (Gnedenko and Korolyuk 1951):
 * 2 Σ (−1)^(k − 1) C(2n, n − kh) / C(2n, n).
 */
function outsideSquare(n: number, h: number): number {
  let sum = 0
  for (let k = Math.floor(n / h); k >= 1; k--) {
    const term = Math.exp(2 * logGamma(n + 1) - logGamma(n - k * h + 1) - logGamma(n + k * h + 1))
    sum += k % 2 === 1 ? term : -term
  }
  return Math.min(1, Math.max(0, 2 * sum))
}

/**
 * Share of lattice paths from (0, 0) to (n, m) that reach |i·m − j·n| ≥ steps: at (i, j) a random path came from the left with chance
 * i / (i + j), from below with j / (i + j). All terms are positive, so that small p-values keep their precision.
 */
function outsideBand(n: number, m: number, steps: number): number {
  const out = new Float64Array(m + 1)
  for (let i = 0; i <= n; i++) {
    for (let j = 0; j <= m; j++) {
      if (Math.abs(i * m - j * n) >= steps) out[j] = 1
      else if (i + j > 0) out[j] = ((i > 0 ? out[j]! * i : 0) + (j > 0 ? out[j - 1]! * j : 0)) / (i + j)
    }
  }
  return Math.min(1, out[m]!)
}

/**
 * P(D ≥ d) of the one-sample statistic of n records (`scipy.stats.kstwo.sf`), after Simard and L'Ecuyer (2011): twice the one-sided tail
 * where that is what is left, Durbin's matrix (Marsaglia, Tsang and Wang 2003) for few records, Pelz and Good's expansion (1976) else.
 */
export function ksOneSampleSurvival(d: number, n: number): number {
  if (Number.isNaN(d)) return Number.NaN
  if (n * d <= 0.5) return 1
  if (d >= 1) return 0
  if (d >= 0.5 || n * d * d >= (n <= 140 ? 4 : 2.2)) return Math.min(1, 2 * oneSided(d, n))
  if (n <= 140 || (n <= 100_000 && n * d ** 1.5 <= 1.4)) return 1 - durbin(d, n)
  return Math.min(1, Math.max(0, 1 - pelzGood(d, n)))
}

/** P(D⁺ ≥ d), Birnbaum and Tingey (1951): d Σ C(n, j) (d + j/n)^(j − 1) (1 − d − j/n)^(n − j). */
function oneSided(d: number, n: number): number {
  let sum = 0
  const logFactorial = logGamma(n + 1)
  for (let j = 0; j <= Math.floor(n * (1 - d)); j++) {
    const rest = 1 - d - j / n
    if (rest <= 0) continue
    const choose = logFactorial - logGamma(j + 1) - logGamma(n - j + 1)
    sum += Math.exp(choose + (j - 1) * Math.log(d + j / n) + (n - j) * Math.log(rest))
  }
  return d * sum
}

/** P(D < d): the middle entry of n! / nⁿ · Hⁿ, with an exponent kept apart so that nothing overflows. */
function durbin(d: number, n: number): number {
  const k = Math.ceil(n * d)
  const h = k - n * d
  const size = 2 * k - 1
  const matrix = new Float64Array(size * size)
  for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) matrix[i * size + j] = i - j + 1 < 0 ? 0 : 1
  for (let i = 0; i < size; i++) {
    matrix[i * size]! -= h ** (i + 1)
    matrix[(size - 1) * size + i]! -= h ** (size - i)
  }
  matrix[(size - 1) * size]! += 2 * h > 1 ? (2 * h - 1) ** size : 0
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) for (let g = 1; g <= i - j + 1; g++) matrix[i * size + j]! /= g
  }
  const power = matrixPower(matrix, size, n)
  const middle = power.values[(k - 1) * size + k - 1]!
  return Math.min(1, Math.exp(Math.log(middle) + power.logScale + logGamma(n + 1) - n * Math.log(n)))
}

interface ScaledMatrix {
  readonly values: Float64Array
  /** The matrix is its values times e to this. */
  readonly logScale: number
}

function matrixPower(base: Float64Array, size: number, exponent: number): ScaledMatrix {
  let result: ScaledMatrix = { values: base.map((_, at) => (at % (size + 1) === 0 ? 1 : 0)), logScale: 0 }
  let square: ScaledMatrix = { values: base, logScale: 0 }
  const times = (left: ScaledMatrix, right: ScaledMatrix): ScaledMatrix => {
    const values = new Float64Array(size * size)
    let largest = 0
    for (let i = 0; i < size; i++) {
      for (let k = 0; k < size; k++) {
        const factor = left.values[i * size + k]!
        if (factor === 0) continue
        for (let j = 0; j < size; j++) values[i * size + j]! += factor * right.values[k * size + j]!
      }
      for (let j = 0; j < size; j++) largest = Math.max(largest, Math.abs(values[i * size + j]!))
    }
    return {
      values: values.map((value) => value / largest),
      logScale: left.logScale + right.logScale + Math.log(largest),
    }
  }
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = times(result, square)
    if (rest > 1) square = times(square, square)
  }
  return result
}

/** P(D < d) = K0(z) + K1(z)/√n + K2(z)/n + K3(z)/n^(3/2), z = √n·d; equations 9 to 13 of Simard and L'Ecuyer. */
function pelzGood(d: number, n: number): number {
  const z = Math.sqrt(n) * d
  const [z2, z4, z6] = [z ** 2, z ** 4, z ** 6]
  const [pi2, pi4, pi6] = [Math.PI ** 2, Math.PI ** 4, Math.PI ** 6]
  const sums = { k0: 0, k1: 0, k2: 0, k2b: 0, k3: 0, k3b: 0 }
  for (let j = 0; j <= 20; j++) {
    const u = (j + 0.5) ** 2
    const half = Math.exp((-u * pi2) / (2 * z2))
    sums.k0 += half
    sums.k1 += (pi2 * u - z2) * half
    sums.k2 += (6 * z6 + 2 * z4 + pi2 * (2 * z4 - 5 * z2) * u + pi4 * (1 - 2 * z2) * u * u) * half
    sums.k3 +=
      (-30 * z6 -
        90 * z ** 8 +
        pi2 * (135 * z4 - 96 * z6) * u +
        pi4 * (212 * z4 - 60 * z2) * u * u +
        pi6 * (5 - 30 * z2) * u ** 3) *
      half
    if (j === 0) continue
    const whole = Math.exp((-j * j * pi2) / (2 * z2))
    sums.k2b += pi2 * j * j * whole
    sums.k3b += (3 * pi2 * j * j * z2 - pi4 * j ** 4) * whole
  }
  const root = Math.sqrt(2 * Math.PI)
  const rootOfHalf = Math.sqrt(Math.PI / 2)
  const k0 = (root / z) * sums.k0
  const k1 = (rootOfHalf / (3 * z4)) * sums.k1
  const k2 = (rootOfHalf / (36 * z ** 7)) * sums.k2 - (rootOfHalf / (18 * z ** 3)) * sums.k2b
  const k3 = (rootOfHalf / (3240 * z ** 10)) * sums.k3 + (rootOfHalf / (108 * z6)) * sums.k3b
  return k0 + k1 / Math.sqrt(n) + k2 / n + k3 / n ** 1.5
}

function roundEven(value: number): number {
  const floor = Math.floor(value)
  return value - floor > 0.5 || (value - floor === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}
