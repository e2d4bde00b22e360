import { type Counts, jeffreysShares, sharesOf, totalOf } from './counts.ts'
import { gammaQuantile, normalCdf } from './distributions.ts'
import type { Noise } from './noise.ts'
import { stepsBetweenBins } from './ordered.ts'

/**
 * Noise that depends on the reference's shares, for 1/n + 1/m = 1: computed once for a profile, scaled for each window. A normal
 * approximation throughout: differences of shares as normal with the multinomial's covariances.
 */
export type NoiseShape = Noise

/** The noise of n and m records. */
export function scaledNoise(shape: NoiseShape, n: number, m: number): Noise {
  const spread = Math.sqrt(1 / n + 1 / m)
  return { mean: shape.mean * spread, q95: shape.q95 * spread }
}

/** Total variation distance: mean and variance of ½ Σ |normal| are exact, the 95 % quantile that of the gamma with these moments. */
export function totalVariationNoise(reference: Counts): NoiseShape {
  const p = sharesOf(reference)
  return absoluteSum(
    p.map((share) => Math.sqrt(share * (1 - share)) / 2),
    (i, j) => -Math.sqrt((p[i]! * p[j]!) / ((1 - p[i]!) * (1 - p[j]!))),
  )
}

/** Wasserstein-1 in standard deviations, as `binnedWasserstein`: moments exact, quantile that of the gamma with these moments. */
export function wassersteinNoise(
  reference: Counts,
  scale: { readonly edges: ArrayLike<number>; readonly sigma: number },
): NoiseShape {
  const steps = stepsBetweenBins(scale.edges, reference.length)
  const divisor = Math.max(scale.sigma, 0.001)
  const cdf = sharesOf(reference).subarray(0, -1)
  for (let bin = 1; bin < cdf.length; bin++) cdf[bin] = Math.min(1, cdf[bin]! + cdf[bin - 1]!)
  // A Brownian bridge at F: for F_i ≤ F_j the correlation is √(F_i (1 − F_j) / (F_j (1 − F_i))).
  return absoluteSum(
    cdf.map((f, bin) => (steps[bin]! * Math.sqrt(f * (1 - f))) / divisor),
    (i, j) => Math.sqrt((cdf[i]! * (1 - cdf[j]!)) / (cdf[j]! * (1 - cdf[i]!))),
  )
}

/** L∞ distance: bins as if independent, which by Šidák's inequality makes mean and quantile upper bounds. */
export function lInfinityNoise(reference: Counts): NoiseShape {
  const sigmas = Array.from(sharesOf(reference), (share) => Math.sqrt(share * (1 - share))).filter((s) => s > 0)
  if (sigmas.length === 0) return { mean: 0, q95: 0 }
  const top = 8 * Math.max(...sigmas)
  const below = (x: number): number => sigmas.reduce((product, s) => product * (2 * normalCdf(x / s) - 1), 1)
  const steps = 64
  let mean = 0
  for (let step = 0; step < steps; step++) mean += ((1 - below(((step + 0.5) / steps) * top)) * top) / steps
  let low = 0
  let high = top
  for (let halving = 0; halving < 30; halving++) {
    const middle = (low + high) / 2
    if (below(middle) < 0.95) low = middle
    else high = middle
  }
  return { mean, q95: high }
}

/** A bin that expects fewer records has its noise summed up exactly. */
const SPARSE = 12

/**
 * PSI of a window of m records against a reference with these counts, sparse bins included: their contribution under no drift is summed
 * over the Poisson distribution of the window's count, that of well-filled ones is (1 − p)(1/n + 1/m). The 95 % quantile is that of the
 * gamma with the same mean and variance; an approximation. Equals `psiNoise` when every bin is well filled.
 */
export function psiNoiseOfReference(reference: Counts, m: number): Noise {
  const n = totalOf(reference)
  const p = jeffreysShares(reference)
  let mean = 0
  let variance = 0
  for (const share of p) {
    const window =
      share * m < SPARSE
        ? sparseBin(share, m, p.length)
        : { mean: (1 - share) / m, variance: (2 * (1 - share)) / m ** 2 }
    const whole = window.mean + (1 - share) / n
    mean += whole
    variance += window.variance * (whole / window.mean) ** 2
  }
  return { mean, q95: gammaQuantile(0.95, { mean, variance }) }
}

function sparseBin(share: number, m: number, bins: number): { readonly mean: number; readonly variance: number } {
  const expected = share * m
  const last = Math.ceil(expected + 8 * Math.sqrt(expected) + 8)
  let probability = Math.exp(-expected)
  let mean = 0
  let square = 0
  for (let count = 0; count <= last; count++) {
    const q = (count + 0.5) / (m + bins / 2)
    const contribution = (share - q) * Math.log(share / q)
    mean += probability * contribution
    square += probability * contribution ** 2
    probability *= expected / (count + 1)
  }
  return { mean, variance: square - mean ** 2 }
}

/** Σ |Z| of normal variables with these deviations, and correlations of i < j. */
function absoluteSum(sigmas: Float64Array, correlation: (i: number, j: number) => number): NoiseShape {
  let mean = 0
  let variance = 0
  for (let i = 0; i < sigmas.length; i++) {
    if (!(sigmas[i]! > 0)) continue
    mean += Math.sqrt(2 / Math.PI) * sigmas[i]!
    variance += (1 - 2 / Math.PI) * sigmas[i]! ** 2
    for (let j = i + 1; j < sigmas.length; j++) {
      if (!(sigmas[j]! > 0)) continue
      const rho = Math.min(1, Math.max(-1, correlation(i, j)))
      // Covariance of |X| and |Y| (Nabeya 1951).
      variance += 2 * sigmas[i]! * sigmas[j]! * (2 / Math.PI) * (Math.sqrt(1 - rho * rho) + rho * Math.asin(rho) - 1)
    }
  }
  return { mean, q95: gammaQuantile(0.95, { mean, variance }) }
}
