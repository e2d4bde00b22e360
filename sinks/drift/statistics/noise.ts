import { chiSquareQuantile } from './distributions.ts'
import { logGamma } from './gamma.ts'

/** What a metric shows when nothing has changed: its mean and the value it exceeds in one window of twenty. */
export interface Noise {
  readonly mean: number
  readonly q95: number
}

/**
 * PSI of k well-filled bins, n and m records: PSI ≈ χ²(k − 1)·(1/n + 1/m), so its mean is (k − 1)(1/n + 1/m). Within 3 % of simulation
 * from about 15 expected records per bin; with emptier bins use `psiNoiseOfReference`.
 */
export function psiNoise(n: number, m: number, k: number): Noise {
  const spread = 1 / n + 1 / m
  return { mean: (k - 1) * spread, q95: upperChiSquare(k) * spread }
}

/** Jensen–Shannon distance, base 2: its square is about PSI / (8 ln 2) near zero, so it is a χ variable with k − 1 degrees of freedom. */
export function jensenShannonNoise(n: number, m: number, k: number): Noise {
  return chiNoise(k, Math.sqrt((1 / n + 1 / m) / (8 * Math.LN2)))
}

/** Hellinger distance: its square is about PSI / 8 near zero, so it is a χ variable with k − 1 degrees of freedom. */
export function hellingerNoise(n: number, m: number, k: number): Noise {
  return chiNoise(k, Math.sqrt((1 / n + 1 / m) / 8))
}

// Of Kolmogorov's distribution: the mean is √(π/2)·ln 2.
const KOLMOGOROV_MEAN = 0.868_731_160_636_16
const KOLMOGOROV_Q95 = 1.358_098_639_322_55

/** Kolmogorov–Smirnov distance: Kolmogorov's limit for continuous values, an upper bound for bins and ties. */
export function kolmogorovNoise(n: number, m: number): Noise {
  const spread = Math.sqrt(1 / n + 1 / m)
  return { mean: KOLMOGOROV_MEAN * spread, q95: KOLMOGOROV_Q95 * spread }
}

/** χ² statistic of a contingency table with k occupied columns. */
export function chiSquareNoise(k: number): Noise {
  return { mean: k - 1, q95: upperChiSquare(k) }
}

function chiNoise(k: number, scale: number): Noise {
  const df = k - 1
  if (df < 1) return { mean: 0, q95: 0 }
  const mean = Math.SQRT2 * Math.exp(logGamma((df + 1) / 2) - logGamma(df / 2))
  return { mean: mean * scale, q95: Math.sqrt(upperChiSquare(k)) * scale }
}

const upperByBins: number[] = []

function upperChiSquare(k: number): number {
  if (k < 2) return 0
  upperByBins[k] ??= chiSquareQuantile(0.95, k - 1)
  return upperByBins[k]
}
