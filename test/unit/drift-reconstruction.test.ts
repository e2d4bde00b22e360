/** The multivariate score: scikit-learn's figures for the housing example, and a change that no single feature shows. */
import { expect, test } from 'vitest'
import { deviationOf, meanOf } from '../../sinks/drift/statistics/losses.ts'
import { fitReconstruction, reconstructionError } from '../../sinks/drift/statistics/reconstruction.ts'
import {
  type FeatureScale,
  mergeMoments,
  type SecondMoments,
  standardised,
  standardMoments,
} from '../../sinks/drift/statistics/second-moments.ts'
import { symmetricEigen } from '../../sinks/drift/statistics/symmetric-eigen.ts'
import { HOUSING_FEATURES, type HousingRows, readCaliforniaHousing } from '../support/california-housing.ts'
import { seededRandom } from '../support/seeded-random.ts'

const housing = readCaliforniaHousing()
const rowsOf = (part: HousingRows): number[][] =>
  part.scores.map((_, row) => HOUSING_FEATURES.map((name) => part.features[name]![row]!))
const scale: FeatureScale = {
  means: HOUSING_FEATURES.map((name) => meanOf(housing.reference.features[name]!)),
  deviations: HOUSING_FEATURES.map((name) => deviationOf(housing.reference.features[name]!)),
}
const reference = standardMoments(rowsOf(housing.reference), scale)
const model = fitReconstruction(reference)

test('components for 65 % of the variance', () => {
  expect(model.components).toBe(3)
  expect(model.explained).toBeCloseTo(0.27891791 + 0.21645113 + 0.15873938, 7)
  expect(fitReconstruction(reference, 0.6).components).toBe(3)
  expect(fitReconstruction(reference, 1).components).toBe(8)
})

test.each([
  ['2020-10', 1.32224],
  ['2020-11', 1.086019],
  ['2020-12', 1.104727],
  ['2021-01', 2.530833],
  ['2021-05', 2.247281],
  ['2021-06', 5.126154],
  ['2021-11', 10.927923],
  ['2022-03', 26.395486],
  ['2022-05', 1.249995],
])('%s: the error of the mean over rows, from moments alone', (month, rms) => {
  const window = standardMoments(rowsOf(housing.months.get(month)!), scale)
  expect(reconstructionError(model, window).rms).toBeCloseTo(rms, 6)
})

test('windows are sums of panes, and features add up', () => {
  const panes = [...housing.months.values()].slice(8).map((month) => standardMoments(rowsOf(month), scale))
  const { rms, contributions } = reconstructionError(model, mergeMoments(panes))
  expect(rms).toBeCloseTo(8.814836545402777, 8)
  expect(contributions[5]).toBeCloseTo(68.88755014, 6)
  expect(contributions[6]).toBeCloseTo(0.14909617, 7)
  expect(contributions.reduce((sum, part) => sum + part, 0)).toBeCloseTo(rms ** 2, 9)
})

test('raw moments, as a database sums them, give the same', () => {
  const identity: FeatureScale = { means: Array(8).fill(0), deviations: Array(8).fill(1) }
  const raw = standardMoments(rowsOf(housing.analysis), identity)
  const { rms } = reconstructionError(model, standardised(raw, scale))
  expect(rms).toBeCloseTo(8.814836545402777, 8)
})

test('a correlation that flips while every feature stays as it was is seen', () => {
  const random = seededRandom(12)
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
  const window = (sign: 1 | -1, rows = 1500): SecondMoments => {
    const drawn = Array.from({ length: rows }, () => {
      const [a, b, c] = [normal(), normal(), normal()]
      return [a, sign * (0.9 * a + Math.sqrt(1 - 0.81) * b), c]
    })
    return standardMoments(drawn, { means: [0, 0, 0], deviations: [1, 1, 1] })
  }
  const fit = fitReconstruction(window(1, 20_000))
  const calm = Array.from({ length: 30 }, () => reconstructionError(fit, window(1)).rms)
  expect(reconstructionError(fit, window(-1)).rms).toBeGreaterThan(Math.max(...calm) * 2)
})

test('a missing value counts as the mean, a constant feature is left unscaled', () => {
  const moments = standardMoments(
    [
      [Number.NaN, 5],
      [3, 5],
    ],
    { means: [1, 5], deviations: [2, 0] },
  )
  expect([...moments.sums]).toEqual([1, 0])
  expect([...moments.products]).toEqual([1, 0, 0, 0])
  const constant = fitReconstruction(standardMoments([[5], [5]], { means: [5], deviations: [0] }))
  expect(reconstructionError(constant, standardMoments([[7]], { means: [5], deviations: [0] })).rms).toBe(2)
})

test('nothing and nonsense', () => {
  const none = standardMoments([], scale)
  expect(reconstructionError(model, none).rms).toBeNaN()
  expect(() => fitReconstruction(none)).toThrow('without records')
  expect(() => mergeMoments([])).toThrow(RangeError)
  expect(() => standardMoments([[1]], scale)).toThrow(RangeError)
  expect(() => reconstructionError(model, standardMoments([[1]], { means: [0], deviations: [1] }))).toThrow(RangeError)
  expect(() => symmetricEigen([1, 2, 3], 2)).toThrow('no 2 × 2 matrix')
  expect(() => symmetricEigen([Number.NaN], 1)).toThrow('not finite')
})

test('eigenvalues as LAPACK has them, and vectors that belong to them', () => {
  const matrix = [4, 1, 0.5, 0, 1, 3, 0.2, -0.7, 0.5, 0.2, 2, 0.1, 0, -0.7, 0.1, 1.5]
  const { values, vectors } = symmetricEigen(matrix, 4)
  for (const [at, value] of [4.75837479, 2.70311871, 1.88309231, 1.15541418].entries()) {
    expect(values[at]).toBeCloseTo(value, 8)
  }
  for (const [at, vector] of vectors.entries()) {
    for (let row = 0; row < 4; row++) {
      const image = vector.reduce((sum, entry, column) => sum + matrix[row * 4 + column]! * entry, 0)
      expect(image).toBeCloseTo(values[at]! * vector[row]!, 12)
    }
  }
})
