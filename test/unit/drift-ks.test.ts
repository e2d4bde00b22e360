/** p-values of Kolmogorov and Smirnov's test as SciPy has them. */
import { expect, test } from 'vitest'
import { kolmogorovPValue } from '../../sinks/drift/statistics/kolmogorov.ts'
import { ksOneSampleSurvival, ksPValue, ksTwoSample } from '../../sinks/drift/statistics/parity/scipy-ks.ts'

test('D = 0.0116 of 10,000 and 10,000 records: three methods, three answers', () => {
  expect(kolmogorovPValue(0.0116, 10_000, 10_000)).toBeCloseTo(0.5116, 4)
  expect(ksPValue(0.0116, 10_000, 10_000, 'exact')).toBeCloseTo(0.5116, 4)
  expect(ksPValue(0.0116, 10_000, 10_000)).toBeCloseTo(0.5116, 4)
  expect(ksPValue(0.0116, 10_000, 10_000, 'asymp')).toBeCloseTo(0.5079, 4)
  // Stephens' correction of the limit.
  const root = Math.sqrt(5000)
  expect(kolmogorovPValue((0.0116 * (root + 0.12 + 0.11 / root)) / root, 10_000, 10_000)).toBeCloseTo(0.5093, 4)
})

test.each([
  [5, 0.3, 0.664],
  [20, 0.3, 0.04306706665851623],
  [100, 0.1, 0.2526927570063874],
  [139, 0.08, 0.3188204668006506],
  [141, 0.08, 0.31084170879264117],
  [500, 0.06, 0.05243463489026223],
  [5000, 0.003, 0.9999999999740126],
  [5000, 0.0116, 0.507864858614197],
  [5000, 0.02, 0.03613941395325637],
  [100_000, 0.004, 0.08130148920222469],
  [300, 0.3, 1.92786406567219e-24],
])('one sample of %i, D = %d', (n, d, expected) => {
  expect(Math.abs(ksOneSampleSurvival(d, n) / expected - 1)).toBeLessThan(1e-6)
})

test.each([
  [37, 52, 575 / 1924, 0.03218507460980405, 0.03078455699739291],
  [37, 37, 10 / 37, 0.13451432844409983, 0.11878832726605093],
  [200, 350, 0.1, 0.1467097857860927, 0.1473052737331398],
  [60, 7, 0.5, 0.057314328416347406, 0.06558641975308642],
])('two samples of %i and %i, D = %d: exact and asymptotic', (n, m, d, exact, asymptotic) => {
  expect(ksPValue(d, n, m, 'exact')).toBeCloseTo(exact, 9)
  expect(ksPValue(d, m, n, 'exact')).toBeCloseTo(exact, 9)
  expect(ksPValue(d, n, m, 'asymp')).toBeCloseTo(asymptotic, 6)
})

test('ends', () => {
  expect(ksPValue(0, 20, 30)).toBe(1)
  expect(ksPValue(1, 3, 3)).toBeCloseTo(0.1, 12)
  expect(ksTwoSample([1, 2, 3], [4, 5, 6])).toEqual({ statistic: 1, pValue: expect.closeTo(0.1, 12) })
  expect(ksPValue(Number.NaN, 3, 3)).toBeNaN()
  expect([ksOneSampleSurvival(0.001, 10), ksOneSampleSurvival(1, 10), ksOneSampleSurvival(Number.NaN, 10)]).toEqual([
    1,
    0,
    Number.NaN,
  ])
})
