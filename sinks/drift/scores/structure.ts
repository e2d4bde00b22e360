import type { ReferenceMoments } from '../../../schemas/control/profiles.ts'
import { studentTwoSided } from '../statistics/distributions.ts'
import { fitReconstruction, reconstructionError } from '../statistics/reconstruction.ts'
import type { SecondMoments } from '../statistics/second-moments.ts'
import { symmetricEigen } from '../statistics/symmetric-eigen.ts'
import { PRACTICAL } from './practical-thresholds.ts'
import type { MomentWindow } from './read-windows.ts'
import type { MetricScore } from './score-subject.ts'

/** How features hang together, judged by what the reference's principal components leave over of a record. */
export interface StructureScorer {
  /** Of the products of a pane: their sum by these is the sum of squared reconstruction errors of its records. */
  readonly weights: readonly number[]
  readonly components: number
  readonly explained: number
  /**
   * The relative change of the root mean squared reconstruction error against the reference's, whose products are given by `products` and
   * `rows` (of the segment). Contributions: of each feature of the moments, how its mean squared error has changed.
   */
  score(
    window: MomentWindow,
    reference: { readonly products: readonly number[]; readonly rows: number },
  ): StructureScore
}

export interface StructureScore extends MetricScore {
  /** Root mean squared reconstruction errors, in standard deviations. */
  readonly error: number
  readonly referenceError: number
}

const Z95 = 1.959_963_984_540_054
/** Of all variance: what is left over is never taken for less, or noise would be a large change of nothing. */
const LEAST_RESIDUAL = 0.01

export function createStructureScorer(moments: ReferenceMoments, minRows: number): StructureScorer {
  const size = moments.positions.length
  const whole = secondMoments(moments.products, moments.rows, size)
  const model = fitReconstruction(whole)
  // products of the whole reference are means; those of windows are sums
  const { values } = symmetricEigen(
    whole.products.map((sum) => sum / moments.rows),
    size,
  )
  const left = values.subarray(model.components)
  // of normal records; what panes show of the true spread is used besides
  const normalVariance = 2 * left.reduce((sum, value) => sum + value * value, 0)
  const least = LEAST_RESIDUAL * values.reduce((sum, value) => sum + value, 0)

  return {
    weights: upperOf(model.residual, size),
    components: model.components,
    explained: model.explained,
    score(window, reference) {
      const shared = {
        metric: 'reconstruction_error',
        test: 'structure',
        n: window.n,
        nReference: reference.rows,
      } as const
      const isEnough = window.n >= minRows && reference.rows >= minRows
      const known = secondMoments(reference.products, reference.rows, size)
      const before = reconstructionError(model, known)
      if (window.n === 0 || reference.rows === 0) {
        const nothing = { value: Number.NaN, noiseFloor: Number.NaN, threshold: PRACTICAL.reconstruction_error }
        return { ...shared, ...nothing, pValue: null, contributions: [], error: Number.NaN, referenceError: before.rms }
      }
      const now = reconstructionError(model, {
        ...secondMoments(window.products, 1, size),
        count: window.n,
      })
      const square = Math.max(before.rms ** 2, least)
      // the spread between panes tells how much records vary, however they are distributed, and whether they come in clusters
      const mean = window.r / window.n
      const between = Math.max(0, window.rr - 2 * mean * window.rn + mean * mean * window.nn)
      const perRow = window.panes > 1 ? (between / window.n) * (window.panes / (window.panes - 1)) : 0
      const variance = Math.max(perRow, normalVariance)
      const error = Math.sqrt(variance * (1 / window.n + 1 / reference.rows))
      const t = (now.rms ** 2 - before.rms ** 2) / error
      const freedom = window.panes > 1 && perRow >= normalVariance ? window.panes - 1 : window.n
      const noiseFloor = (Z95 * error) / (2 * square)
      return {
        ...shared,
        value: Math.abs(now.rms / Math.sqrt(square) - before.rms / Math.sqrt(square)),
        noiseFloor,
        threshold: Math.max(PRACTICAL.reconstruction_error, noiseFloor),
        pValue: isEnough ? studentTwoSided(t, freedom) : null,
        contributions: now.contributions.map((value, at) => value - before.contributions[at]!),
        ...{ error: now.rms, referenceError: before.rms },
      }
    },
  }
}

/** `products` as means times `rows`. */
function secondMoments(upper: readonly number[], rows: number, size: number): SecondMoments {
  const products = new Float64Array(size * size)
  let at = 0
  for (let i = 0; i < size; i++) {
    for (let j = i; j < size; j++) {
      const sum = (upper[at++] ?? 0) * rows
      products[i * size + j] = sum
      products[j * size + i] = sum
    }
  }
  // standardised by the reference's own mean, and missing values at it: the sums are 0
  return { count: rows, sums: new Float64Array(size), products }
}

function upperOf(matrix: Float64Array, size: number): readonly number[] {
  const upper: number[] = []
  for (let i = 0; i < size; i++) {
    for (let j = i; j < size; j++) upper.push(matrix[i * size + j]! * (i === j ? 1 : 2))
  }
  return upper
}
