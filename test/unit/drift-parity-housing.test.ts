/** The other tools' numbers for NannyML's California housing example: published ones, and golden ones from the tools' own libraries. */
import { beforeAll, describe, expect, test } from 'vitest'
import {
  evidentlyDefault,
  evidentlyHellinger,
  evidentlyJensenShannon,
  evidentlyKlDivergence,
  evidentlyPsi,
  evidentlyWasserstein,
} from '../../sinks/drift/statistics/parity/evidently.ts'
import {
  nannymlHellinger,
  nannymlJensenShannon,
  nannymlKolmogorovSmirnov,
  nannymlReconstructionError,
  nannymlWasserstein,
} from '../../sinks/drift/statistics/parity/nannyml.ts'
import { doaneEdges, sturgesEdges } from '../../sinks/drift/statistics/parity/numpy-bins.ts'
import { energyDistance, ksDistance, wassersteinDistance } from '../../sinks/drift/statistics/parity/scipy-distances.ts'
import {
  type CaliforniaHousing,
  HOUSING_FEATURES,
  type HousingRows,
  readCaliforniaHousing,
} from '../support/california-housing.ts'

// Whole reference against whole analysis: Evidently's bins, PSI, JS (base e), KL, W1 / std, Hellinger; NannyML's bins, JS (base 2), Hellinger;
// SciPy's W1 and KS.
const GOLDEN = `
MedInc     15 0.036725 0.067388 0.017933 0.157537 0.067570 20 0.087238 0.072849 0.304730 0.068747
HouseAge   15 0.124127 0.123539 0.059899 0.178565 0.103678 16 0.149185 0.124712 2.086360 0.086754
AveRooms   15 0.014594 0.044504 0.007512 0.082767 0.045706 22 0.042946 0.038186 0.195430 0.065305
AveBedrms  15 0.002753 0.024706 0.001494 0.035204 0.027506 23 0.032842 0.030840 0.014714 0.013951
Population 15 0.002351 0.019735 0.001209 0.043411 0.023983 21 0.028881 0.025374 52.588441 0.021119
AveOccup   15 0.000013 0.011239 0.000006 0.235714 0.013499 24 0.099246 0.085254 0.387773 0.083792
Latitude   15 3.285194 0.526752 1.173221 1.124458 0.573829 20 0.699836 0.628349 1.872286 0.507024
Longitude  15 3.453519 0.576303 2.068086 1.243107 0.667870 20 0.749066 0.698331 1.823510 0.512294`
  .trim()
  .split('\n')
  .map((line) => line.split(/ +/))

let housing: CaliforniaHousing
beforeAll(() => {
  housing = readCaliforniaHousing()
})

describe.each(GOLDEN)('%s', (feature, ...columns) => {
  const [evBins, psi, js, kl, w1Std, evHellinger, nmBins, js2, nmHellinger, w1, ks] = columns.map(Number)
  const samples = (): [readonly number[], readonly number[]] => [
    housing.reference.features[feature]!,
    housing.analysis.features[feature]!,
  ]

  test('as Evidently has it', () => {
    const [reference, current] = samples()
    expect(sturgesEdges([...reference, ...current]).length - 1).toBe(evBins)
    expect(evidentlyPsi(reference, current)).toBeCloseTo(psi!, 6)
    expect(evidentlyJensenShannon(reference, current)).toBeCloseTo(js!, 6)
    expect(evidentlyKlDivergence(reference, current)).toBeCloseTo(kl!, 6)
    expect(evidentlyWasserstein(reference, current)).toBeCloseTo(w1Std!, 6)
    expect(evidentlyHellinger(reference, current)).toBeCloseTo(evHellinger!, 6)
    expect(evidentlyDefault(reference, current)).toBe('wasserstein')
  })

  test('as NannyML and SciPy have it', () => {
    const [reference, current] = samples()
    expect(doaneEdges(reference).length - 1).toBe(nmBins)
    expect(nannymlJensenShannon(reference, current)).toBeCloseTo(js2!, 6)
    expect(nannymlHellinger(reference, current)).toBeCloseTo(nmHellinger!, 6)
    expect(wassersteinDistance(reference, current)).toBeCloseTo(w1!, 6)
    expect(ksDistance(reference, current)).toBeCloseTo(ks!, 6)
    expect(nannymlWasserstein(reference, current)).toBeCloseTo(w1!, 6)
    expect(nannymlKolmogorovSmirnov(reference, current)).toBeCloseTo(ks!, 6)
  })
})

test.each([
  ['id', 0.87428],
  ['Longitude', 0.712709],
  ['Latitude', 0.672904],
  ['HouseAge', 0.201638],
  ['MedInc', 0.154952],
  ['AveOccup', 0.14389],
  ['AveRooms', 0.129277],
  ['AveBedrms', 0.0891403],
  ['Population', 0.0735623],
])(
  'mean KS of %s over the 20 months, each against the whole reference: NannyML’s published figure',
  (feature, published) => {
    const reference = housing.reference.features[feature]!
    const months = [...housing.months.values()]
    expect(months).toHaveLength(20)
    const sum = months.reduce(
      (total, month) => total + nannymlKolmogorovSmirnov(reference, month.features[feature]!),
      0,
    )
    expect(sum / 20).toBeCloseTo(published, 6)
  },
)

const rowsOf = (part: HousingRows): number[][] =>
  part.scores.map((_, row) => HOUSING_FEATURES.map((name) => part.features[name]![row]!))
/** Every seventh income and every fifth population is missing. */
const withHoles = (rows: readonly number[][]): number[][] =>
  rows.map((row, index) =>
    row.map((value, at) => ((at === 0 && index % 7 === 0) || (at === 4 && index % 5 === 3) ? Number.NaN : value)),
  )

test.each([
  ['2020-10', 1.141103974, 17.033119856],
  ['2021-01', 1.552328757, 12.588649234],
  ['2021-05', 1.561048813, 9.102552017],
  ['2021-06', 1.409359453, 11.51718269],
  ['2021-11', 1.650050694, 14.095797204],
  ['2022-03', 2.047256801, 11.082645807],
  ['2022-05', 1.110743738, 9.033750384],
])(
  '%s: NannyML’s reconstruction error, also with missing values and a feature that was constant',
  (month, error, holed) => {
    const [reference, chunk] = [housing.reference, housing.months.get(month)!].map(rowsOf) as [number[][], number[][]]
    expect(nannymlReconstructionError(reference, chunk)).toBeCloseTo(error, 8)
    const constant = withHoles(reference.map((row) => row.with(1, 20)))
    expect(nannymlReconstructionError(constant, withHoles(chunk))).toBeCloseTo(holed, 8)
    expect(nannymlReconstructionError(reference, [])).toBeNaN()
  },
)

test('energy distance grows with a shift', () => {
  const income = housing.reference.features['MedInc']!
  expect(energyDistance(income, income)).toBe(0)
  expect(energyDistance(income, housing.analysis.features['MedInc']!)).toBeGreaterThan(0)
})
