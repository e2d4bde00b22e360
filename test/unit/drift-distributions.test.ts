import { expect, test } from 'vitest'
import {
  chiSquareQuantile,
  chiSquareSurvival,
  gammaQuantile,
  normalCdf,
  normalQuantile,
  normalTwoSided,
  studentTwoSided,
} from '../../sinks/drift/statistics/distributions.ts'
import { logGamma, regularizedBeta, regularizedGammaP, regularizedGammaQ } from '../../sinks/drift/statistics/gamma.ts'
import { kolmogorovPValue, kolmogorovSurvival } from '../../sinks/drift/statistics/kolmogorov.ts'

/** Relative to the expected value, so that tails count, too. */
function expectClose(actual: number, expected: number, relative = 1e-10): void {
  expect(Math.abs(actual - expected), `${actual} is not ${expected}`).toBeLessThanOrEqual(relative * Math.abs(expected))
}

test('ln Γ as SciPy has it', () => {
  const known = [
    [0.1, 2.252712651734206],
    [0.5, 0.5723649429247],
    [3.3, 0.9870985778947343],
    [50, 144.56574394634487],
    [1e6, 12815504.569147611],
  ] as const
  for (const [x, expected] of known) expectClose(logGamma(x), expected, 1e-13)
})

test('the tails of χ² as SciPy has them', () => {
  expect(chiSquareSurvival(9.991, 10)).toBeCloseTo(0.44128, 5)
  expectClose(chiSquareSurvival(9.991, 10), 0.4412832432303462)
  expectClose(chiSquareSurvival(200, 41), 8.52302434773583e-23)
  expectClose(chiSquareSurvival(3.84, 1), 0.05004352124870519)
  expectClose(chiSquareSurvival(1000.5, 1000), 0.48959449422998)
  expectClose(chiSquareSurvival(0.02, 7), 0.9999999914694195)
})

test('the quantiles of χ² and the normal distribution as SciPy has them', () => {
  expectClose(chiSquareQuantile(0.95, 9), 16.918977604620448)
  expectClose(chiSquareQuantile(0.95, 41), 56.94238714682408)
  expectClose(chiSquareQuantile(0.99, 0.7), 5.653168218608974)
  expectClose(normalQuantile(0.975), 1.959963984540054)
  expectClose(normalQuantile(1e-9), -5.9978070150076865)
  expect(normalQuantile(0.5)).toBeCloseTo(0, 12)
})

test('the normal and Student’s distribution as SciPy has them', () => {
  expectClose(normalCdf(-6), 9.865876450376946e-10)
  expectClose(normalCdf(1.2345), 0.8914916766373298)
  expectClose(normalTwoSided(1.959963984540054), 0.05)
  expectClose(studentTwoSided(2.1, 7), 0.07387119621292265)
  expectClose(studentTwoSided(-0.3, 100), 0.7647998803003035)
})

test('Kolmogorov’s limit: the p-value of D = 0.0116 and n = m = 10,000, and both series', () => {
  expect(kolmogorovPValue(0.0116, 10_000, 10_000)).toBeCloseTo(0.5116, 4)
  expectClose(kolmogorovPValue(0.0116, 10_000, 10_000), 0.51158, 1e-4)
  expectClose(kolmogorovSurvival(0.3), 0.999990694, 1e-8)
  expectClose(kolmogorovSurvival(1.18), 0.123453809, 1e-8)
  expectClose(kolmogorovSurvival(1.1799999999), kolmogorovSurvival(1.18), 1e-8)
  expectClose(kolmogorovSurvival(2.5), 7.45330634e-6, 1e-8)
})

test('ends and nonsense', () => {
  expect([normalQuantile(0), normalQuantile(1), normalQuantile(1.1)]).toEqual([-Infinity, Infinity, Number.NaN])
  expect([normalCdf(Number.NaN), normalCdf(-Infinity), normalCdf(Infinity)]).toEqual([Number.NaN, 0, 1])
  expect([chiSquareSurvival(0, 3), chiSquareSurvival(Infinity, 3), chiSquareSurvival(1, 0)]).toEqual([1, 0, Number.NaN])
  expect([chiSquareQuantile(0, 3), chiSquareQuantile(1, 3), chiSquareQuantile(0.5, 0)]).toEqual([
    0,
    Number.NaN,
    Number.NaN,
  ])
  expect([kolmogorovSurvival(0), kolmogorovSurvival(1e-9), kolmogorovSurvival(Number.NaN)]).toEqual([1, 1, Number.NaN])
  expect([regularizedBeta(2, 3, 0), regularizedBeta(2, 3, 1)]).toEqual([0, 1])
  expect(gammaQuantile(0.95, { mean: 0, variance: 0 })).toBe(0)
  for (const [a, x] of [
    [0.5, 0.2],
    [3, 3.9],
    [3, 4.1],
    [900, 950],
  ] as const) {
    expect(regularizedGammaP(a, x) + regularizedGammaQ(a, x)).toBeCloseTo(1, 12)
  }
})
