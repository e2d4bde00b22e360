/** Quality with and without labels; the figures are those of NannyML's housing example, published or from scikit-learn and SciPy. */
import { beforeAll, expect, test } from 'vitest'
import { binnedAuc, exactAuc, midranks } from '../../sinks/drift/statistics/auc.ts'
import {
  calibrationCurve,
  calibrationOfBins,
  expectedCalibrationError,
} from '../../sinks/drift/statistics/calibration-error.ts'
import {
  type Calibration,
  calibrated,
  estimatedAuc,
  estimatedRates,
  fitCalibration,
} from '../../sinks/drift/statistics/cbpe.ts'
import { confusionAt, confusionOfBins, ratesOfConfusion } from '../../sinks/drift/statistics/confusion.ts'
import { fitIsotonic, isotonicAt } from '../../sinks/drift/statistics/isotonic.ts'
import {
  absoluteErrors,
  deviationOf,
  logLosses,
  meanOf,
  rootMean,
  squaredErrors,
} from '../../sinks/drift/statistics/losses.ts'
import { compareAucs, compareLosses } from '../../sinks/drift/statistics/paired.ts'
import { quantileOf, thresholdsOfWindows } from '../../sinks/drift/statistics/window-thresholds.ts'
import { type CaliforniaHousing, type HousingRows, readCaliforniaHousing } from '../support/california-housing.ts'

let housing: CaliforniaHousing
let calibration: Calibration
beforeAll(() => {
  housing = readCaliforniaHousing()
  calibration = fitCalibration(housing.reference.scores, housing.reference.labels)
})
const month = (name: string): HousingRows => housing.months.get(name)!
const referenceMonths = (): HousingRows[] => [...housing.months.values()].slice(0, 8)

// By month: AUC estimated by CBPE, AUC of the uncalibrated estimate, realized AUC, estimated precision, recall, F1, log loss, Brier score.
const MONTHS = `
2021-06 0.859318 0.847223 0.884175 0.957695 0.110696 0.198454 0.326129 0.099879
2021-07 0.750976 0.713259 0.760062 0.949499 0.008267 0.016391 0.489739 0.155015
2021-08 0.709284 0.690649 0.704325 NaN      0.000000 0.000000 0.695635 0.251284
2021-09 0.664344 0.657649 0.669772 NaN      0.000000 0.000000 0.796095 0.290687
2021-10 0.824291 0.790506 0.833500 0.953673 0.198449 0.328534 0.818881 0.277776
2021-11 0.870254 0.852880 0.731549 0.954139 0.078331 0.144776 1.479154 0.236556
2021-12 0.898273 0.863470 0.933917 0.973958 0.494490 0.655948 0.577517 0.184578
2022-01 0.851573 0.785434 0.869353 0.968692 0.516599 0.673841 0.407332 0.127914
2022-02 0.911054 0.881094 0.933453 0.969326 0.391456 0.557692 0.415927 0.135312
2022-03 0.829077 0.811688 0.704867 0.956113 0.072387 0.134585 0.724750 0.226437
2022-04 0.910661 0.905946 0.975394 0.972458 0.140439 0.245434 0.317461 0.105508
2022-05 0.939883 0.925521 0.950922 0.976330 0.527650 0.685063 0.338018 0.100610`
  .trim()
  .split('\n')
  .map((line) => line.split(/ +/))

function expectNumber(actual: number, expected: number): void {
  if (Number.isNaN(expected)) expect(actual).toBeNaN()
  else expect(actual).toBeCloseTo(expected, 6)
}

test.each(MONTHS)('%s: estimated before labels, realized after', (name, ...columns) => {
  const [auc, uncalibrated, realized, precision, recall, f1, logLoss, brier] = columns.map(Number)
  const rows = month(name)
  expect(calibration).not.toBeNull()
  const probabilities = calibrated(calibration, rows.scores)
  expectNumber(estimatedAuc(rows.scores, probabilities), auc!)
  expectNumber(estimatedAuc(rows.scores, rows.scores), uncalibrated!)
  expectNumber(exactAuc(rows.scores, rows.labels), realized!)
  const rates = estimatedRates(rows.predicted, probabilities)
  expectNumber(rates.precision, precision!)
  expectNumber(rates.recall, recall!)
  expectNumber(rates.f1, f1!)
  expectNumber(meanOf(logLosses(rows.scores, rows.labels)), logLoss!)
  expectNumber(meanOf(squaredErrors(rows.scores, rows.labels)), brier!)
})

test('thresholds of the AUC: three deviations around the reference’s months, kept below 1', () => {
  const aucs = referenceMonths().map((rows) => exactAuc(rows.scores, rows.labels))
  const { lower, upper } = thresholdsOfWindows(aucs, { lowest: 0, highest: 1 })
  expect(lower).toBeCloseTo(0.708336, 6)
  expect(upper).toBe(1)
  expect(thresholdsOfWindows(aucs).upper).toBeCloseTo(1.0495925664056327, 9)
  expect(thresholdsOfWindows([...aucs, Number.NaN]).lower).toBeCloseTo(0.7083356125891167, 9)
  expect(quantileOf([3, 1, Number.NaN, 2, 4], 0.25)).toBe(1.75)
  expect(quantileOf([], 0.5)).toBeNaN()
})

test('isotonic regression as scikit-learn has it', () => {
  const fit = fitIsotonic(housing.reference.scores, housing.reference.labels)
  expect(fit.x).toHaveLength(54)
  const [x, y] = [fit.x.slice(0, 4), fit.y.slice(0, 4)]
  expect(x).toEqual([0, 0.01, 0.05, 0.06])
  for (const [at, value] of [0.02666667, 0.04568528, 0.04568528, 0.06578947].entries()) {
    expect(y[at]).toBeCloseTo(value, 8)
  }
  expect(isotonicAt(fit, -1)).toBe(fit.y[0])
  expect(isotonicAt(fit, 2)).toBe(fit.y.at(-1))
  expect(isotonicAt(fit, 0.005)).toBeCloseTo((fit.y[0]! + fit.y[1]!) / 2, 12)
  expect(isotonicAt(fitIsotonic([], []), 0.5)).toBeNaN()
  expect(fitIsotonic([1, 2, 3, 4], [3, 1, 2, 5])).toEqual({ x: [1, 3, 4], y: [2, 2, 5] })
})

test('no calibration for what needs none', () => {
  expect(fitCalibration([0.1, 0.9], [1, 1])).toBeNull()
  expect(fitCalibration([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])).toBeNull()
  expect([...calibrated(null, [0.3])]).toEqual([0.3])
  // Ten scores of 200 rows each, as many positives as they say.
  const rows = Array.from({ length: 2000 }, (_, row) => ({ tenth: Math.floor(row / 200), place: row % 200 }))
  const scores = rows.map(({ tenth }) => tenth / 10 + 0.05)
  expect(
    fitCalibration(
      scores,
      rows.map(({ tenth, place }) => (place < tenth * 20 + 10 ? 1 : 0)),
    ),
  ).toBeNull()
})

test('AUC from bins: ties half, exact with a bin for every score', () => {
  const { scores, labels } = housing.analysis
  const bins = (count: number): [number[], number[]] => {
    const sides: [number[], number[]] = [Array(count).fill(0), Array(count).fill(0)]
    for (const [row, score] of scores.entries()) {
      sides[labels[row] === 1 ? 0 : 1][Math.min(count - 1, Math.floor(score * count + 1e-9))]!++
    }
    return sides
  }
  const exact = exactAuc(scores, labels)
  expect(exact).toBeCloseTo(0.8402458783370228, 12)
  expect(binnedAuc(...bins(101))).toBeCloseTo(exact, 3)
  expect(binnedAuc(...bins(100_000))).toBeCloseTo(exact, 12)
  expect(exactAuc([0.5, 0.5], [0, 1])).toBe(0.5)
  expect(exactAuc([0.5], [1])).toBeNaN()
  expect(binnedAuc([1], [0])).toBeNaN()
  expect([...midranks([3, 1, 3, 2])]).toEqual([3.5, 1, 3.5, 2])
  expect(() => exactAuc([Number.NaN], [1])).toThrow('row 0 is NaN')
})

test('precision, recall and F1 at a threshold, from rows and from bins', () => {
  const { scores, labels } = housing.analysis
  const rates = ratesOfConfusion(confusionAt(scores, labels, 0.5))
  expect(rates.precision).toBeCloseTo(0.8958904109589041, 12)
  expect(rates.recall).toBeCloseTo(0.5304750869061413, 12)
  expect(rates.f1).toBeCloseTo(0.6663755458515584, 12)
  expect(confusionOfBins([1, 2, 3], [6, 5, 4], 2)).toEqual({
    truePositives: 3,
    falsePositives: 4,
    falseNegatives: 3,
    trueNegatives: 11,
  })
  expect(ratesOfConfusion(confusionAt([0.1], [0], 0.5))).toEqual({ precision: NaN, recall: NaN, f1: NaN, accuracy: 1 })
})

test('the expected calibration error names its bins', () => {
  const { scores, labels } = housing.reference
  const width = { kind: 'equal-width', bins: 10 } as const
  const count = { kind: 'equal-count', bins: 10 } as const
  expect(expectedCalibrationError(calibrationCurve(scores, labels, width))).toBeCloseTo(0.09415980795610424, 10)
  expect(expectedCalibrationError(calibrationCurve(scores, labels, count))).toBeCloseTo(0.09415980795610424, 10)
  const some = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
  const came = [0, 1, 0, 1, 0, 1, 1, 0]
  // Two halves: 0.25 against 0.5, 0.75 against 0.5. Pieces of two rows: 0.15, 0.35, 0.65 and 0.85, each against 0.5.
  expect(expectedCalibrationError(calibrationCurve(some, came, { ...width, bins: 2 }))).toBeCloseTo(0.25, 12)
  expect(expectedCalibrationError(calibrationCurve(some, came, { ...count, bins: 3 }))).toBeCloseTo(0.25, 12)
  expect(calibrationCurve(some, came, { ...count, bins: 3 })).toHaveLength(4)
  expect(calibrationCurve(some, came, { ...count, bins: 10 }).map((bin) => bin.count)).toEqual([2, 2, 2, 2])
  expect(calibrationOfBins([1, 0, 0], [1, 0, 3], [0.6, 0, 2.4])).toEqual([
    { count: 2, meanScore: 0.3, positiveRate: 0.5 },
    { count: 3, meanScore: expect.closeTo(0.8, 12), positiveRate: 0 },
  ])
  expect(expectedCalibrationError([])).toBeNaN()
})

test('losses of a regression, and of sure mistakes', () => {
  expect(meanOf(absoluteErrors([1, 2, 4], [1, 4, 1]))).toBeCloseTo(5 / 3, 12)
  expect(rootMean(squaredErrors([1, 2, 4], [1, 4, 1]))).toBeCloseTo(Math.sqrt(13 / 3), 12)
  expect([...logLosses([0, 1], [1, 0])]).toEqual([expect.closeTo(36.0437, 4), expect.closeTo(36.0437, 4)])
  expect(deviationOf([1], 1)).toBeNaN()
})

test('champion against challenger: DeLong as its formula over all pairs has it', () => {
  const labels = [1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1]
  const champion = [0.9, 0.3, 0.6, 0.55, 0.6, 0.1, 0.8, 0.4, 0.35, 0.2, 0.5, 0.7]
  const challenger = [0.7, 0.4, 0.9, 0.6, 0.3, 0.2, 0.85, 0.6, 0.6, 0.1, 0.2, 0.4]
  const small = compareAucs(labels, champion, challenger)
  expect(small.champion).toBeCloseTo(0.875, 12)
  expect(small.challenger).toBeCloseTo(0.9305555555555555, 12)
  expect(small.standardError).toBeCloseTo(0.12234841969747355, 10)
  expect(small.pValue).toBeCloseTo(0.6497736881811964, 10)
  expect(compareAucs(labels, champion, champion)).toMatchObject({ difference: 0, standardError: 0, pValue: 1 })

  const { scores, features, labels: came } = housing.analysis
  const byIncome = midranks(features['MedInc']!).map((rank, _, all) => rank / all.length)
  const large = compareAucs(came, scores, byIncome)
  expect(large.difference).toBeCloseTo(0.8243679465952111 - 0.8402458783370228, 10)
  expect(large.z).toBeCloseTo(-3.8827158619139808, 8)
  const brier = compareLosses(squaredErrors(scores, came), squaredErrors(byIncome, came))
  expect(brier.champion).toBeCloseTo(0.18829795918367348, 10)
  expect(brier.z).toBeCloseTo(-6.901153244602992, 8)
})
