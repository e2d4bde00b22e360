import type { SecondMoments } from './second-moments.ts'
import { symmetricEigen } from './symmetric-eigen.ts'

/** What a reference's principal components leave over of a record. */
export interface ReconstructionModel {
  /** How many components are kept. */
  readonly components: number
  /** Share of the reference's variance that they explain. */
  readonly explained: number
  /** I − PPᵀ, features × features by rows. */
  readonly residual: Float64Array
}

/**
 * Principal components of a reference's standardised moments, as many as explain more than a share of its variance: 0.65 by default, as
 * NannyML has it (scikit-learn's `PCA(n_components=0.65)` on scaled data). @throws RangeError without records or on values not finite
 */
export function fitReconstruction(reference: SecondMoments, share = 0.65): ReconstructionModel {
  const { count, sums, products } = reference
  const size = sums.length
  if (count === 0) throw new RangeError('a reference without records has no components')
  const covariance = products.map((product, at) => {
    const [i, j] = [Math.floor(at / size), at % size]
    return product / count - (sums[i]! / count) * (sums[j]! / count)
  })
  const { values, vectors } = symmetricEigen(covariance, size)
  const variance = values.reduce((sum, value) => sum + Math.max(0, value), 0)
  let components = 0
  let explained = 0
  while (variance > 0 && components < size && explained <= share * variance)
    explained += Math.max(0, values[components++]!)
  const residual = covariance.map((_, at) => (at % (size + 1) === 0 ? 1 : 0))
  for (const vector of vectors.slice(0, components)) {
    for (let at = 0; at < residual.length; at++) residual[at]! -= vector[Math.floor(at / size)]! * vector[at % size]!
  }
  return { components, explained: variance === 0 ? 1 : explained / variance, residual }
}

export interface ReconstructionError {
  /** Root of the mean squared distance between a record and its reconstruction, in standard deviations; NaN without records. */
  readonly rms: number
  /** Mean squared distance in each feature; they add up to rms². */
  readonly contributions: Float64Array
}

/**
 * Reconstruction error of a window from its merged standardised moments alone: trace((I − PPᵀ)·S), S = Σ zzᵀ / n about the reference's
 * mean; the same as the mean over records. Sees a change of correlation that leaves every feature's distribution as it was.
 * @throws RangeError on another number of features
 */
export function reconstructionError(model: ReconstructionModel, window: SecondMoments): ReconstructionError {
  const size = window.sums.length
  const { residual } = model
  if (residual.length !== size * size) throw new RangeError(`the model has other features than these ${size}`)
  // Diagonal of R·S·R, R = I − PPᵀ, symmetric and idempotent.
  const contributions = new Float64Array(size)
  let total = 0
  for (let i = 0; i < size; i++) {
    let sum = 0
    for (let j = 0; j < size; j++) {
      let inner = 0
      for (let k = 0; k < size; k++) inner += window.products[j * size + k]! * residual[k * size + i]!
      sum += residual[i * size + j]! * inner
    }
    contributions[i] = Math.max(0, sum / window.count)
    total += contributions[i]!
  }
  return { rms: Math.sqrt(total), contributions }
}
