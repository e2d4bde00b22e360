/** The other tools' numbers where the housing example does not reach: tests, categories, bins, large references. */
import { expect, test } from 'vitest'
import { alibiChiSquare, alibiKs, alibiMmd, alibiVerdict } from '../../sinks/drift/statistics/parity/alibi-detect.ts'
import {
  evidentlyChiSquare,
  evidentlyDefault,
  evidentlyGTest,
  evidentlyHellinger,
  evidentlyJensenShannon,
  evidentlyKlDivergence,
  evidentlyPsi,
  evidentlyTotalVariation,
  evidentlyZTest,
} from '../../sinks/drift/statistics/parity/evidently.ts'
import {
  nannymlCategoricalHellinger,
  nannymlCategoricalJensenShannon,
  nannymlChiSquare,
  nannymlJensenShannon,
  nannymlKolmogorovSmirnov,
  nannymlLInfinity,
  nannymlWasserstein,
} from '../../sinks/drift/statistics/parity/nannyml.ts'
import { doaneEdges, histogram, sturgesEdges } from '../../sinks/drift/statistics/parity/numpy-bins.ts'
import {
  andersonDarling,
  chiSquareFit,
  eppsSingleton,
  mannWhitney,
  studentTest,
} from '../../sinks/drift/statistics/parity/scipy.ts'
import { energyDistance, ksDistance, wassersteinDistance } from '../../sinks/drift/statistics/parity/scipy-distances.ts'

const repeated = (counts: readonly number[]): number[] => counts.flatMap((count, value) => Array(count).fill(value))
const letters = (text: string): string[] =>
  text.split(' ').flatMap((part) => Array<string>(Number(part.slice(1))).fill(part[0]!))
/** The same numbers as `(numpy.arange(count) * step) % 1`. */
const spread = (count: number, step: number): number[] => Array.from({ length: count }, (_, at) => (at * step) % 1)
const GOLDEN = 0.6180339887498949

const REFERENCE = repeated([16, 18, 16, 14, 12, 12])
const CURRENT = repeated([16, 16, 16, 16, 16, 8])
const EIGHT = [38.7, 41.5, 43.8, 44.5, 45.5, 46.0, 47.7, 58.0]
const OTHER_EIGHT = [39.2, 39.3, 39.7, 41.4, 41.8, 42.9, 43.3, 45.8]

test('the literals of Evidently’s own tests: six categories', () => {
  expect(evidentlyChiSquare(REFERENCE, CURRENT)).toBeCloseTo(0.67309, 5)
  expect(evidentlyChiSquare(REFERENCE, CURRENT)).toBeCloseTo(0.6730876006966301, 10)
  expect(evidentlyHellinger(REFERENCE.map(String), CURRENT.map(String))).toBeCloseTo(0.06813, 5)
  expect(evidentlyTotalVariation(REFERENCE, CURRENT)).toBeCloseTo(0.06818, 5)
  expect(mannWhitney(REFERENCE, CURRENT, 'less').pValue).toBeCloseTo(0.4814330305987495, 9)
  expect(eppsSingleton(REFERENCE, CURRENT).pValue).toBeCloseTo(0.8100227257212194, 8)
  expect(evidentlyGTest(repeated([5, 5, 8]), repeated([4, 6, 8]))).toBeCloseTo(0.817622013379844, 9)
})

test('the literals of Evidently’s own tests: two samples of eight', () => {
  expect(studentTest(EIGHT, OTHER_EIGHT).pValue).toBeCloseTo(0.08410572024397057, 9)
  expect(andersonDarling(EIGHT, OTHER_EIGHT).pValue).toBeCloseTo(0.0635146772876083, 8)
  expect(
    energyDistance(
      EIGHT,
      EIGHT.map((value) => value + 5),
    ),
  ).toBeCloseTo(1.9332614929181204, 10)
  expect(mannWhitney(EIGHT, OTHER_EIGHT, 'two-sided').pValue).toBeCloseTo(0.08312293695990333, 9)
})

const X = [
  1.8, 0.4, 0.1, -1.9, -0.3, -0.4, -0.1, -0.6, 0, -0.5, -1.3, 0.9, 0.9, 1.7, 0.1, -0.4, -0.5, -1.5, 1, -1.1, -1.2, -0.2,
  1.5, 0.2, -1, -0.7, 0.6, -0.2, -0.8, -0.2, 0.7, 2, -1.2, -0.6, -0.8, -2.4, -0.9,
]
const Y = [
  -0.6, 1.5, 0.3, -1.2, 1, 0, -1.3, -0.2, -0.2, -0.5, 0.4, -1.8, 0.1, 1.4, 1.3, 1.5, 1.5, 1.9, -0.7, 1.2, -1.5, -0.2,
  -1.5, 1.4, 1.7, 0.2, 2.2, -0.3, 0.6, 0.6, -0.7, 0.8, 2.3, -0.6, 1.3, 0.2, 2.2, 0.9, 1.1, 1, 0.6, -1, 1.8, -1, 0.6, 1,
  -0.4, 0.5, 1.6, 0.4, -0.5, -2.5,
]

test('two samples with ties, as SciPy has them', () => {
  expect(ksDistance(X, Y)).toBeCloseTo(0.29885654885654883, 12)
  expect(wassersteinDistance(X, Y)).toBeCloseTo(0.5441787941787943, 12)
  expect(energyDistance(X, Y)).toBeCloseTo(0.4590507678951799, 12)
  expect(andersonDarling(X, Y).statistic).toBeCloseTo(2.745043052018781, 9)
  expect(andersonDarling(X, Y).pValue).toBeCloseTo(0.024519950010411302, 8)
  expect(mannWhitney(X, Y, 'two-sided').pValue).toBeCloseTo(0.020806765151420766, 9)
  expect(studentTest(X, Y).pValue).toBeCloseTo(0.023521658003155078, 9)
  expect(ksDistance(X, [...Y, Number.NaN])).toBeNaN()
  expect(wassersteinDistance(X, [])).toBeNaN()
  expect(energyDistance([], Y)).toBeNaN()
})

test('χ² of fit: a category that the reference never had', () => {
  expect(chiSquareFit([3, 4, 1], [4, 4, 0])).toEqual({ statistic: Infinity, pValue: 0 })
  expect(evidentlyChiSquare(['a', 'a', 'b'], ['a', 'c', 'b'])).toBe(0)
  expect(() => evidentlyGTest(['a'], ['a', 'b'])).toThrow(RangeError)
})

const A = letters('a50 b30 c20')
const B = letters('a20 b25 d10 e5')

test('categories and zero fill, as Evidently has them', () => {
  expect(evidentlyPsi(A, B)).toBeCloseTo(3.4207919533384366, 10)
  expect(evidentlyKlDivergence(A, B)).toBeCloseTo(1.6225229148260958, 10)
  expect(evidentlyJensenShannon(A, B)).toBeCloseTo(0.41123858247315326, 10)
  expect(evidentlyHellinger(A, B)).toBeCloseTo(0.4880556514813276, 10)
  // A smallest share of 0.00005: empty bins become a millionth of it.
  expect(evidentlyPsi(letters('a1 b19999'), letters('a5 b90 c5'))).toBeCloseTo(1.3917314529113731, 10)
  expect(evidentlyZTest(letters('n70 y30'), letters('n45 y45'))).toBeCloseTo(0.004861011505374611, 10)
  expect(evidentlyZTest(['y'], ['y', 'y'])).toBe(1)
})

test('few distinct numbers are bins of their own, and missing ones dropped', () => {
  const few = REFERENCE.map((value) => value / 2)
  expect(evidentlyPsi([...few, Number.NaN], [...few, Infinity])).toBe(0)
  expect(evidentlyJensenShannon(REFERENCE, CURRENT)).toBeCloseTo(
    evidentlyJensenShannon(REFERENCE.map(String), CURRENT.map(String)),
    12,
  )
})

test('the test that Evidently takes by default', () => {
  const many = spread(1001, GOLDEN)
  expect(evidentlyDefault(many.slice(1), many)).toBe('ks')
  expect(evidentlyDefault(many, many)).toBe('wasserstein')
  expect(evidentlyDefault(REFERENCE, CURRENT)).toBe('ks')
  expect(evidentlyDefault([1, 2, 3], [4, 5])).toBe('chisquare')
  expect(evidentlyDefault(['n', 'y'], ['y'])).toBe('z')
  expect(
    evidentlyDefault(
      many.map((value) => Math.floor(value * 3)),
      [1],
    ),
  ).toBe('jensenshannon')
  expect(evidentlyDefault(letters('a600 b500'), ['c'])).toBe('jensenshannon')
})

test('categories, as NannyML has them', () => {
  expect(nannymlCategoricalJensenShannon(A, B)).toBeCloseTo(0.49394787676607893, 10)
  expect(nannymlCategoricalHellinger(A, B)).toBeCloseTo(0.48805565148132773, 10)
  expect(nannymlLInfinity(A, B)).toBeCloseTo(0.2, 12)
  expect(nannymlLInfinity(A, [])).toBeNaN()
  const chi = nannymlChiSquare(A, B)
  expect(chi.statistic).toBeCloseTo(40.865800865800864, 9)
  expect(chi.pValue).toBeCloseTo(2.8653985656224623e-8, 16)
})

test('10,000 reference rows and more: NannyML’s bins, with Wasserstein’s shift by one row', () => {
  const reference = spread(12_000, GOLDEN).map((value) => value ** 2 * 10)
  const chunk = spread(900, 0.7548776662466927).map((value) => value * 11 - 0.4)
  expect(nannymlWasserstein(reference, chunk)).toBeCloseTo(1.755869540357345, 9)
  expect(wassersteinDistance(reference, chunk)).toBeCloseTo(1.7669346608663736, 9)
  expect(nannymlKolmogorovSmirnov(reference, chunk)).toBeCloseTo(0.23858333333330106, 9)
  expect(nannymlKolmogorovSmirnov(reference, [Number.NaN])).toBeNaN()
  expect(nannymlJensenShannon(reference, [])).toBeNaN()
})

test('NumPy’s edges: rounding at powers of two, integers, constants', () => {
  const bins = (count: number): number => sturgesEdges(spread(count, GOLDEN)).length - 1
  expect([64, 256, 1000, 1024, 4096].map(bins)).toEqual([7, 9, 11, 11, 13])
  // One bin more for some samples of 64, as NumPy has it: 65 of these 200.
  const samples = Array.from(
    { length: 200 },
    (_, sample) =>
      sturgesEdges(Array.from({ length: 64 }, (_, at) => ((at * GOLDEN + sample * 0.37) % 1) ** (1 + (sample % 3))))
        .length - 1,
  )
  expect(samples.filter((count) => count === 8)).toHaveLength(65)
  expect(samples.filter((count) => count === 7)).toHaveLength(135)
  const integers = Array.from({ length: 3900 }, (_, row) => row % 13)
  expect(sturgesEdges(integers, { integers: true }).length - 1).toBe(12)
  expect(sturgesEdges(integers).length - 1).toBe(13)
  expect([...doaneEdges([3, 3])]).toEqual([2.5, 3.5])
  expect([...doaneEdges([3, 4])]).toEqual([3, 4])
  expect(() => sturgesEdges([1, Number.NaN])).toThrow('value 1 is NaN')
  expect(() => doaneEdges([1, Infinity])).toThrow(RangeError)
})

test('a histogram is closed on the left, its last bin on both sides; what is outside does not count', () => {
  const edges = Float64Array.of(0, 0.1, 0.2, 0.3)
  expect([...histogram([-0.01, 0, 0.1, 0.3, 0.2, 0.31, Number.NaN], edges)]).toEqual([1, 1, 2])
  // 0.3 / 0.1 is below 3 in floating point; the edge itself decides.
  expect([...histogram([0.1 * 3, 0.3], Float64Array.of(0, 0.1, 0.2, 0.3, 0.4))]).toEqual([0, 0, 0, 2])
})

test('alibi-detect’s verdicts are strict', () => {
  expect(alibiVerdict([0.025, 0.9], { correction: 'bonferroni' })).toEqual({ isDrift: false, threshold: 0.025 })
  expect(alibiVerdict([0.0249, 0.9], { correction: 'bonferroni' }).isDrift).toBe(true)
  expect(alibiVerdict([0.049, 0.04, 0.9], { correction: 'fdr' }).isDrift).toBe(false)
  expect(alibiVerdict([0.03, 0.033, 0.9], { correction: 'fdr' })).toEqual({ isDrift: true, threshold: (0.05 / 3) * 2 })
  expect(alibiVerdict([0.05], { correction: 'fdr' }).isDrift).toBe(false)
})

test('alibi-detect’s tests of one feature, and the statistic of MMD', () => {
  expect(alibiKs(X, Y).pValue).toBeCloseTo(0.03218507460980405, 9)
  expect(alibiChiSquare([30, 70], [45, 55]).pValue).toBeCloseTo(0.04087153408900628, 10)
  const left = Array.from({ length: 12 }, (_, i) => [Math.sin(i), Math.cos(2 * i), i / 10])
  const right = Array.from({ length: 9 }, (_, i) => [Math.sin(i) + 0.5, Math.cos(3 * i), i / 8])
  expect(alibiMmd(left, right)).toBeCloseTo(-0.02820411580565163, 9)
  expect(alibiMmd(left, right, 1.1315875064720353)).toBeCloseTo(-0.02820411580565163, 9)
})
