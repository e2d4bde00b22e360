/** What holds of every pair of counts: bounds, symmetry, nothing between equal shares, no dependence on how panes were cut. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { benjaminiHochberg } from '../../sinks/drift/statistics/benjamini-hochberg.ts'
import { chiSquareContingency } from '../../sinks/drift/statistics/chi-square.ts'
import { type Counts, mergeCounts, totalOf } from '../../sinks/drift/statistics/counts.ts'
import {
  hellingerDistance,
  jensenShannonDistance,
  lInfinity,
  totalVariation,
} from '../../sinks/drift/statistics/divergences.ts'
import { binnedKolmogorovSmirnov, binnedWasserstein } from '../../sinks/drift/statistics/ordered.ts'
import { populationStability } from '../../sinks/drift/statistics/psi.ts'

const counts = (bins: number): fc.Arbitrary<number[]> =>
  fc
    .array(fc.oneof(fc.nat(3), fc.nat(100_000)), { minLength: bins, maxLength: bins })
    .filter((sides) => totalOf(sides) > 0)
const pair = fc.integer({ min: 3, max: 43 }).chain((bins) => fc.tuple(counts(bins), counts(bins)))

const wasserstein = (reference: Counts, current: Counts): number =>
  binnedWasserstein(reference, current, {
    edges: Array.from({ length: reference.length - 1 }, (_, edge) => edge + edge ** 2 / 10),
    sigma: 3,
  })
const metrics: Record<string, readonly [metric: (reference: Counts, current: Counts) => number, highest: number]> = {
  psi: [(reference, current) => populationStability(reference, current).value, Infinity],
  jensenShannon: [jensenShannonDistance, 1],
  hellinger: [hellingerDistance, 1],
  totalVariation: [totalVariation, 1],
  lInfinity: [lInfinity, 1],
  kolmogorovSmirnov: [binnedKolmogorovSmirnov, 1],
  wasserstein: [wasserstein, Infinity],
  chiSquare: [(reference, current) => chiSquareContingency(reference, current).statistic, Infinity],
}

test.each(Object.entries(metrics))(
  '%s: bounds, symmetry, nothing between a side and itself',
  (_, [metric, highest]) => {
    fc.assert(
      fc.property(pair, ([left, right]) => {
        const value = metric(left, right)
        expect(value).toBeGreaterThanOrEqual(0)
        expect(value).toBeLessThanOrEqual(highest + 1e-12)
        // what is rounded of a million is as much larger than what is of one
        expect(Math.abs(metric(right, left) - value)).toBeLessThan(5e-10 * Math.max(1, value))
        expect(metric(left, left)).toBeCloseTo(0, 7)
      }),
    )
  },
)

test.each(Object.entries(metrics))('%s: the same from panes in any cut and order', (_, [metric]) => {
  fc.assert(
    fc.property(
      fc.array(counts(6), { minLength: 1, maxLength: 8 }),
      fc.array(counts(6), { minLength: 1, maxLength: 8 }),
      fc.nat(7),
      (reference, current, cut) => {
        const pieces = [mergeCounts(current.slice(cut)), mergeCounts(current.slice(0, cut))].filter((p) => p.length > 0)
        const whole = metric(mergeCounts(reference), mergeCounts(current))
        expect(metric(mergeCounts(reference.toReversed()), mergeCounts(pieces))).toBe(whole)
      },
    ),
  )
})

test('the distances keep their order: L∞ and KS at most the total variation, Hellinger’s inequalities', () => {
  fc.assert(
    fc.property(pair, ([left, right]) => {
      const total = totalVariation(left, right)
      const hellinger = hellingerDistance(left, right)
      expect(lInfinity(left, right)).toBeLessThanOrEqual(total + 1e-12)
      expect(binnedKolmogorovSmirnov(left, right)).toBeLessThanOrEqual(total + 1e-12)
      expect(hellinger ** 2).toBeLessThanOrEqual(total + 1e-12)
      expect(total).toBeLessThanOrEqual(Math.SQRT2 * hellinger + 1e-12)
    }),
  )
})

test('PSI’s contributions are never negative and add up to it', () => {
  fc.assert(
    fc.property(pair, ([left, right]) => {
      const { value, contributions } = populationStability(left, right)
      expect(Math.min(...contributions)).toBeGreaterThanOrEqual(0)
      expect(contributions.reduce((sum, part) => sum + part, 0)).toBeCloseTo(value, 10)
    }),
  )
})

test('Benjamini and Hochberg: what the textbook’s step-up rejects', () => {
  const pValues = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 })
  fc.assert(
    fc.property(pValues, fc.double({ min: 0.001, max: 0.5, noNaN: true }), (values, rate) => {
      const sorted = values.toSorted((a, b) => a - b)
      const bar = sorted.findLast((p, index) => (p * sorted.length) / (index + 1) <= rate) ?? -1
      expect(benjaminiHochberg(values, rate).rejected).toEqual(values.map((p) => p <= bar))
    }),
  )
})
