import { requireSameLength } from './counts.ts'

/**
 * Sums over records of the products of features: everything that the multivariate score needs, and they add up over panes. A missing value
 * has been replaced by the reference's mean before.
 */
export interface SecondMoments {
  readonly count: number
  /** Σ x of each feature. */
  readonly sums: Float64Array
  /** Σ x·xᵀ, features × features by rows, symmetric. */
  readonly products: Float64Array
}

/** Mean and standard deviation (ddof 0) of each feature over the reference's present values. */
export interface FeatureScale {
  readonly means: ArrayLike<number>
  readonly deviations: ArrayLike<number>
}

/**
 * Moments of rows as multiples of the reference's standard deviation from its mean. Rows are float32 or float64, NaN is missing and counts
 * as the mean. Computed in this scale they lose no digits to large means. @throws RangeError when a row has another length
 */
export function standardMoments(rows: Iterable<ArrayLike<number>>, scale: FeatureScale): SecondMoments {
  const size = scale.means.length
  const sums = new Float64Array(size)
  const products = new Float64Array(size * size)
  const z = new Float64Array(size)
  let count = 0
  for (const row of rows) {
    requireSameLength(row, z)
    count++
    for (let i = 0; i < size; i++) {
      const value = row[i]!
      z[i] = Number.isNaN(value) ? 0 : (value - scale.means[i]!) / divisorOf(scale.deviations[i]!)
      sums[i]! += z[i]!
      for (let j = 0; j <= i; j++) products[i * size + j]! += z[i]! * z[j]!
    }
  }
  for (let i = 0; i < size; i++) for (let j = 0; j < i; j++) products[j * size + i] = products[i * size + j]!
  return { count, sums, products }
}

/**
 * The same from moments of raw values, as a database sums them: Σ(x − μ)(y − ν) = Σxy − μΣy − νΣx + nμν, over σ and τ. Means that are large
 * beside the deviations cost digits here. @throws RangeError on another number of features
 */
export function standardised(raw: SecondMoments, scale: FeatureScale): SecondMoments {
  const { count, sums } = raw
  const { means, deviations } = scale
  requireSameLength(means, sums)
  const size = sums.length
  const products = raw.products.map((product, at) => {
    const [i, j] = [Math.floor(at / size), at % size]
    const centred = product - means[i]! * sums[j]! - means[j]! * sums[i]! + count * means[i]! * means[j]!
    return centred / divisorOf(deviations[i]!) / divisorOf(deviations[j]!)
  })
  return { count, sums: sums.map((sum, i) => (sum - count * means[i]!) / divisorOf(deviations[i]!)), products }
}

/** The sum of panes, at least one. @throws RangeError without any, or when they differ in features */
export function mergeMoments(panes: readonly SecondMoments[]): SecondMoments {
  const [first, ...others] = panes
  if (first === undefined) throw new RangeError('no moments to merge')
  const sums = first.sums.slice()
  const products = first.products.slice()
  let count = first.count
  for (const pane of others) {
    requireSameLength(pane.sums, sums)
    count += pane.count
    for (let i = 0; i < sums.length; i++) sums[i]! += pane.sums[i]!
    for (let at = 0; at < products.length; at++) products[at]! += pane.products[at]!
  }
  return { count, sums, products }
}

// A constant feature is not scaled, as in scikit-learn's StandardScaler.
function divisorOf(deviation: number): number {
  return deviation > 0 ? deviation : 1
}
