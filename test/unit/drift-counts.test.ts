import { expect, test } from 'vitest'
import { afterWindow, RESOLVED, type WindowVerdict } from '../../sinks/drift/statistics/alert-streak.ts'
import { benjaminiHochberg } from '../../sinks/drift/statistics/benjamini-hochberg.ts'
import { chiSquareContingency } from '../../sinks/drift/statistics/chi-square.ts'
import { mergeCounts, missingCount, presentCounts, totalOf } from '../../sinks/drift/statistics/counts.ts'
import {
  hellingerDistance,
  jensenShannonDistance,
  lInfinity,
  totalVariation,
} from '../../sinks/drift/statistics/divergences.ts'
import { binnedKolmogorovSmirnov, binnedWasserstein } from '../../sinks/drift/statistics/ordered.ts'
import { populationStability } from '../../sinks/drift/statistics/psi.ts'
import { rateDelta } from '../../sinks/drift/statistics/rates.ts'

// Underflow, eight bins, overflow; what SciPy 1.17 says of them.
const REFERENCE = [12, 40, 180, 420, 610, 590, 330, 150, 60, 8]
const CURRENT = [3, 11, 60, 150, 260, 270, 180, 90, 25, 1]
const EDGES = [0, 1, 2, 4, 5, 6, 7, 9, 10]

test('PSI with Jeffreys smoothing, and what each bin adds', () => {
  const psi = populationStability(REFERENCE, CURRENT)
  expect(psi.value).toBeCloseTo(0.03206302073792492, 12)
  expect(psi.contributions[0]).toBeCloseTo(0.00084402, 8)
  expect(psi.contributions[4]).toBeCloseTo(0.00019164, 8)
  expect(psi.contributions[9]).toBeCloseTo(0.00192363, 8)
})

test('distances of shares', () => {
  expect(jensenShannonDistance(REFERENCE, CURRENT)).toBeCloseTo(0.0779509770687347, 12)
  expect(hellingerDistance(REFERENCE, CURRENT)).toBeCloseTo(0.06503616148536787, 12)
  expect(totalVariation(REFERENCE, CURRENT)).toBeCloseTo(0.06845238095238092, 12)
  expect(lInfinity(REFERENCE, CURRENT)).toBeCloseTo(0.03392857142857142, 12)
})

test('distances of ordered bins; Wasserstein with bins of different widths', () => {
  expect(binnedKolmogorovSmirnov(REFERENCE, CURRENT)).toBeCloseTo(0.06488095238095243, 12)
  expect(binnedWasserstein(REFERENCE, CURRENT, { edges: EDGES, sigma: 2.5 })).toBeCloseTo(0.11716666666666667, 12)
  expect(() => binnedWasserstein(REFERENCE, CURRENT, { edges: EDGES.slice(1), sigma: 1 })).toThrow(RangeError)
})

test('Wasserstein of a constant feature divides by 0.001, never by zero', () => {
  const scale = { edges: [0, 1], sigma: 0 }
  expect(binnedWasserstein([0, 1, 0], [0, 1, 0], scale)).toBe(0)
  expect(binnedWasserstein([0, 1, 0], [0, 0, 1], scale)).toBe(1000)
})

test('χ² of a contingency table, Yates’ correction for two columns', () => {
  const ten = chiSquareContingency(REFERENCE, CURRENT)
  expect(ten.statistic).toBeCloseTo(24.055666540751417, 10)
  expect(ten.pValue).toBeCloseTo(0.004214165309709219, 12)
  expect(ten.smallestExpected).toBeCloseTo(2.739130434782609, 12)
  const two = chiSquareContingency([30, 0, 70], [45, 0, 55])
  expect(two.degreesOfFreedom).toBe(1)
  expect(two.statistic).toBeCloseTo(4.181333333333333, 10)
  expect(two.pValue).toBeCloseTo(0.04087153408900628, 12)
  expect(chiSquareContingency([5, 0], [7, 0])).toMatchObject({ statistic: 0, degreesOfFreedom: 0, pValue: 1 })
})

test('a side without records gives NaN, never an exception; sides of different length are a mistake', () => {
  const none = REFERENCE.map(() => 0)
  expect(jensenShannonDistance(REFERENCE, none)).toBeNaN()
  expect(hellingerDistance(none, CURRENT)).toBeNaN()
  expect(totalVariation(REFERENCE, none)).toBeNaN()
  expect(lInfinity(REFERENCE, none)).toBeNaN()
  expect(binnedKolmogorovSmirnov(REFERENCE, none)).toBeNaN()
  expect(binnedWasserstein(REFERENCE, none, { edges: EDGES, sigma: 1 })).toBeNaN()
  expect(chiSquareContingency(none, CURRENT).pValue).toBeNaN()
  expect(() => populationStability(REFERENCE, [1])).toThrow('arrays of 10 and 1 entries')
})

test('missing is the last count; panes add up', () => {
  expect(missingCount([1, 2, 3, 4])).toBe(4)
  expect(presentCounts(Uint32Array.of(1, 2, 3, 4))).toEqual([1, 2, 3])
  expect(mergeCounts([[1, 2], Uint32Array.of(3, 4), [0, 1]])).toEqual([4, 7])
  expect(mergeCounts([])).toEqual([])
  expect(totalOf([4, 7])).toBe(11)
  expect(() => mergeCounts([[1], [1, 2]])).toThrow(RangeError)
  expect(() => missingCount([])).toThrow(RangeError)
})

test('missing and unseen rates come with their sampling noise', () => {
  const delta = rateDelta({ count: 20, of: 10_000 }, { count: 16, of: 1000 })
  expect(delta.delta).toBeCloseTo(0.014, 12)
  const pooled = 36.5 / 11_001
  expect(delta.noise).toBeCloseTo(Math.sqrt(pooled * (1 - pooled) * (1 / 10_000 + 1 / 1000)), 12)
  expect(delta.pValue).toBeLessThan(1e-10)
  expect(rateDelta({ count: 0, of: 1000 }, { count: 0, of: 500 })).toMatchObject({ delta: 0, pValue: 1 })
  expect(rateDelta({ count: 0, of: 1000 }, { count: 0, of: 0 }).delta).toBeNaN()
})

test('Benjamini and Hochberg’s adjusted p-values, as SciPy has them', () => {
  const pValues = [0.216, 0.001, 0.042, 0.008, 0.039, 0.06, 0.041, 0.074, 0.212, 0.205]
  const { adjusted, rejected } = benjaminiHochberg(pValues, 0.05)
  const expected = [0.216, 0.01, 0.084, 0.04, 0.084, 0.1, 0.084, 0.1057142857, 0.216, 0.216]
  for (const [index, value] of expected.entries()) expect(adjusted[index]).toBeCloseTo(value, 9)
  expect(rejected.flatMap((yes, index) => (yes ? [index] : []))).toEqual([1, 3])
})

test('a p-value of NaN is no test', () => {
  expect(benjaminiHochberg([Number.NaN, 0.04], 0.05)).toEqual({
    rejected: [false, true],
    adjusted: [Number.NaN, 0.04],
  })
  expect(benjaminiHochberg([], 0.05)).toEqual({ rejected: [], adjusted: [] })
})

test('an alert fires after so many windows in a row, and is resolved after so many calm ones', () => {
  const letters: Record<string, WindowVerdict> = { d: 'drift', c: 'calm', '-': 'insufficient' }
  const run = (windows: string, rule = { raiseAfter: 2, clearAfter: 3 }): string => {
    let streak = RESOLVED
    return Array.from(windows, (window) => {
      streak = afterWindow(streak, letters[window]!, rule)
      return streak.state === 'firing' ? 'F' : '.'
    }).join('')
  }
  expect(run('cdcdcddcccc')).toBe('......FFF..')
  expect(run('d-d')).toBe('..F')
  expect(run('ddcc-dccc')).toBe('.FFFFFFF.')
  expect(run('dc', { raiseAfter: 1, clearAfter: 1 })).toBe('F.')
})
