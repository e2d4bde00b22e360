/** Noise floors against simulation with a fixed seed; the tolerances are a few standard errors of the simulation. */
import { expect, test } from 'vitest'
import { chiSquareContingency } from '../../sinks/drift/statistics/chi-square.ts'
import { totalOf } from '../../sinks/drift/statistics/counts.ts'
import {
  hellingerDistance,
  jensenShannonDistance,
  lInfinity,
  totalVariation,
} from '../../sinks/drift/statistics/divergences.ts'
import {
  chiSquareNoise,
  hellingerNoise,
  jensenShannonNoise,
  kolmogorovNoise,
  type Noise,
  psiNoise,
} from '../../sinks/drift/statistics/noise.ts'
import {
  lInfinityNoise,
  psiNoiseOfReference,
  scaledNoise,
  totalVariationNoise,
  wassersteinNoise,
} from '../../sinks/drift/statistics/noise-of-reference.ts'
import { binnedKolmogorovSmirnov, binnedWasserstein } from '../../sinks/drift/statistics/ordered.ts'
import { populationStability } from '../../sinks/drift/statistics/psi.ts'
import { type SeededRandom, seededRandom } from '../support/seeded-random.ts'

/** Of a multinomial: exact by drawing up to 20,000 records, normal with its covariances above. */
function drawCounts(random: SeededRandom, records: number, shares: readonly number[]): number[] {
  const counts = shares.map(() => 0)
  if (records > 20_000) {
    const z = shares.map((share) => Math.sqrt(share) * normalOf(random))
    const common = z.reduce((sum, value) => sum + value, 0)
    return shares.map((share, bin) => Math.round(records * share + Math.sqrt(records) * (z[bin]! - share * common)))
  }
  const upTo: number[] = []
  for (const share of shares) upTo.push((upTo.at(-1) ?? 0) + share)
  // Where the search for a bin starts.
  const guide = Array.from({ length: 256 }, (_, part) => upTo.findIndex((end) => end > part / 256))
  for (let record = 0; record < records; record++) {
    const at = random.next()
    let bin = guide[Math.floor(at * 256)]!
    while (bin < shares.length - 1 && at >= upTo[bin]!) bin++
    counts[bin]!++
  }
  return counts
}

function normalOf(random: SeededRandom): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
}

function simulated(runs: number, metric: () => number): Noise {
  const values = Float64Array.from({ length: runs }, metric).sort()
  let sum = 0
  for (const value of values) sum += value
  return { mean: sum / runs, q95: values[Math.floor(0.95 * runs)]! }
}

function expectNear(actual: Noise, expected: Noise, tolerance: { readonly mean: number; readonly q95: number }): void {
  expect(Math.abs(actual.mean / expected.mean - 1), `mean ${actual.mean}, ${expected.mean}`).toBeLessThan(
    tolerance.mean,
  )
  expect(Math.abs(actual.q95 / expected.q95 - 1), `q95 ${actual.q95}, ${expected.q95}`).toBeLessThan(tolerance.q95)
}

const equal = (bins: number): number[] => Array.from({ length: bins }, () => 1 / bins)

test('the theory of PSI’s noise floor: published figures', () => {
  const table = [
    [10, 1000, 1000, 0.018, 0.03384],
    [10, 100_000, 500, 0.01809, 0.03401],
    [20, 100_000, 2000, 0.00969, 0.01537],
    [50, 2_000_000, 900, 0.05447, 0.07374],
  ] as const
  for (const [k, n, m, mean, q95] of table) {
    expect(psiNoise(n, m, k).mean).toBeCloseTo(mean, 5)
    expect(psiNoise(n, m, k).q95).toBeCloseTo(q95, 5)
  }
})

test.each([
  [10, 1000, 1000, 0.01813, 0.03372],
  [10, 100_000, 500, 0.01815, 0.03425],
  [20, 100_000, 2000, 0.00968, 0.01535],
  [50, 2_000_000, 900, 0.0559, 0.07604],
])('PSI of %i bins, %i and %i records without drift', (k, n, m, mean, q95) => {
  const random = seededRandom(k + m)
  const pairs = Array.from(
    { length: 2000 },
    () => [drawCounts(random, n, equal(k)), drawCounts(random, m, equal(k))] as const,
  )
  let next = 0
  expectNear(
    simulated(2000, () => plainPsi(...pairs[next++]!)),
    { mean, q95 },
    { mean: 0.03, q95: 0.04 },
  )
  expectNear(psiNoise(n, m, k), { mean, q95 }, { mean: 0.03, q95: 0.035 })
  // Smoothing takes a little off: 18 records per bin in the last row.
  next = 0
  expectNear(
    simulated(2000, () => populationStability(...pairs[next++]!).value),
    psiNoise(n, m, k),
    { mean: 0.035, q95: 0.05 },
  )
})

/** Without smoothing, as the published simulation has it. */
function plainPsi(reference: readonly number[], current: readonly number[]): number {
  const n = totalOf(reference)
  const m = totalOf(current)
  return reference.reduce((sum, r, bin) => {
    const [p, q] = [r / n, current[bin]! / m]
    return sum + (p - q) * Math.log(p / q)
  }, 0)
}

// A heavy tail: seven well-filled bins, five that a window sees now and then.
const SHARES = [0.01, 0.09, 0.25, 0.3, 0.2, 0.1, 0.04, 0.006, 0.002, 0.001, 0.0007, 0.0003]
const N = 20_000
const M = 1500

test('PSI of a heavy tail: the floor of its reference, where χ² is too low', () => {
  const random = seededRandom(4)
  const reference = drawCounts(random, N, SHARES)
  const found = simulated(
    700,
    () => populationStability(drawCounts(random, N, SHARES), drawCounts(random, M, SHARES)).value,
  )
  expectNear(psiNoiseOfReference(reference, M), found, { mean: 0.06, q95: 0.1 })
  const filled = equal(10).map((share) => share * 1e6)
  expectNear(psiNoiseOfReference(filled, 2000), psiNoise(1e6, 2000, 10), { mean: 0.002, q95: 0.002 })
})

test('distances of shares without drift', () => {
  const random = seededRandom(5)
  const k = 12
  const pair = (): [number[], number[]] => [drawCounts(random, 4000, equal(k)), drawCounts(random, M, equal(k))]
  const tolerance = { mean: 0.02, q95: 0.035 }
  expectNear(
    simulated(800, () => jensenShannonDistance(...pair())),
    jensenShannonNoise(4000, M, k),
    tolerance,
  )
  expectNear(
    simulated(800, () => hellingerDistance(...pair())),
    hellingerNoise(4000, M, k),
    tolerance,
  )
  expectNear(
    simulated(800, () => chiSquareContingency(...pair()).statistic),
    chiSquareNoise(k),
    { mean: 0.03, q95: 0.05 },
  )
})

test('distances whose noise depends on the reference’s shares', () => {
  const random = seededRandom(6)
  const reference = SHARES.map((share) => share * 1e7)
  const pair = (): [number[], number[]] => [drawCounts(random, 4000, SHARES), drawCounts(random, M, SHARES)]
  const scale = { edges: Array.from({ length: 11 }, (_, edge) => edge ** 1.2), sigma: 2 }
  const tolerance = { mean: 0.03, q95: 0.05 }
  expectNear(
    simulated(800, () => totalVariation(...pair())),
    scaledNoise(totalVariationNoise(reference), 4000, M),
    tolerance,
  )
  expectNear(
    simulated(800, () => binnedWasserstein(...pair(), scale)),
    scaledNoise(wassersteinNoise(reference, scale), 4000, M),
    { mean: 0.04, q95: 0.06 },
  )
  const largest = scaledNoise(lInfinityNoise(reference), 4000, M)
  const found = simulated(800, () => lInfinity(...pair()))
  expectNear(found, largest, { mean: 0.12, q95: 0.1 })
})

test('Kolmogorov–Smirnov without drift: the limit is an upper bound for bins, close to it for many', () => {
  const random = seededRandom(7)
  const found = simulated(600, () =>
    binnedKolmogorovSmirnov(drawCounts(random, 2000, equal(200)), drawCounts(random, 2000, equal(200))),
  )
  expectNear(found, kolmogorovNoise(2000, 2000), { mean: 0.06, q95: 0.06 })
  expect(kolmogorovNoise(2000, 2000).q95).toBeCloseTo(1.358 * Math.sqrt(1 / 1000), 5)
})

test('a single bin has no noise', () => {
  expect(psiNoise(10, 10, 1)).toEqual({ mean: 0, q95: 0 })
  expect(jensenShannonNoise(10, 10, 1)).toEqual({ mean: 0, q95: 0 })
  expect(lInfinityNoise([100])).toEqual({ mean: 0, q95: 0 })
  expect(totalVariationNoise([100])).toEqual({ mean: 0, q95: 0 })
})
