import { logGamma, regularizedBeta, regularizedGammaP, regularizedGammaQ } from './gamma.ts'

/** Φ(z) of the standard normal distribution; both tails keep their relative precision. */
export function normalCdf(z: number): number {
  if (Number.isNaN(z)) return Number.NaN
  return z < 0 ? regularizedGammaQ(0.5, (z * z) / 2) / 2 : 0.5 + regularizedGammaP(0.5, (z * z) / 2) / 2
}

/** p-value of a standard normal z against both sides. */
export function normalTwoSided(z: number): number {
  return regularizedGammaQ(0.5, (z * z) / 2)
}

/** z with Φ(z) = p, 0 < p < 1, by bisection and Newton steps; ±∞ at the ends, NaN outside. */
export function normalQuantile(p: number): number {
  if (!(p >= 0 && p <= 1)) return Number.NaN
  if (p === 0 || p === 1) return p === 0 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
  if (p > 0.5) return -normalQuantile(1 - p)
  const density = (z: number): number => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)
  return root((z) => normalCdf(z) - p, density, { low: -40, high: 0, start: -1 })
}

/** P(X > x) of a χ² variable with `df` > 0 degrees of freedom, which need not be an integer. */
export function chiSquareSurvival(x: number, df: number): number {
  return regularizedGammaQ(df / 2, x / 2)
}

/** x with P(X ≤ x) = p of a χ² variable, 0 ≤ p < 1; starts from Wilson and Hilferty's cube. NaN for df ≤ 0 or p outside. */
export function chiSquareQuantile(p: number, df: number): number {
  if (!(df > 0) || !(p >= 0 && p < 1)) return Number.NaN
  if (p === 0) return 0
  const spread = 2 / (9 * df)
  const start = Math.max(df * (1 - spread + normalQuantile(p) * Math.sqrt(spread)) ** 3, 1e-8)
  const density = (x: number): number =>
    Math.exp((df / 2 - 1) * Math.log(x / 2) - x / 2 - logGamma(df / 2) - Math.log(2))
  const high = start * 4 + 100 + df
  return root((x) => regularizedGammaP(df / 2, x / 2) - p, density, { low: 0, high, start })
}

/** Quantile of a gamma distribution given by its mean and variance. */
export function gammaQuantile(p: number, moments: { readonly mean: number; readonly variance: number }): number {
  const { mean, variance } = moments
  if (mean === 0) return 0
  if (!(variance > 0)) return mean
  return (variance / mean / 2) * chiSquareQuantile(p, (2 * mean * mean) / variance)
}

/** p-value of Student's t with `df` degrees of freedom against both sides. */
export function studentTwoSided(t: number, df: number): number {
  return regularizedBeta(df / 2, 0.5, df / (df + t * t))
}

/** Root of an increasing function: Newton steps, each kept inside a bracket that shrinks. */
function root(
  value: (x: number) => number,
  slope: (x: number) => number,
  from: { readonly low: number; readonly high: number; readonly start: number },
): number {
  let { low, high, start: x } = from
  for (let step = 0; step < 200; step++) {
    const error = value(x)
    if (error === 0) return x
    if (error > 0) high = x
    else low = x
    let next = x - error / slope(x)
    if (!(next > low && next < high)) next = (low + high) / 2
    if (Math.abs(next - x) <= 1e-15 * Math.abs(x)) return next
    x = next
  }
  return x
}
