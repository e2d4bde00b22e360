import { requireSameLength } from './counts.ts'

/** Loss of each record; the mean is the metric. */
export type Losses = Float64Array

/**
 * −ln of the probability given to what happened. Probabilities are kept `clip` away from 0 and 1 (as scikit-learn, which takes the
 * precision of its input), so that one sure mistake costs 36, not infinity.
 * @param labels 1 or 0
 */
export function logLosses(probabilities: ArrayLike<number>, labels: ArrayLike<number>, clip = Number.EPSILON): Losses {
  return pairwise(probabilities, labels, (probability, label) => {
    const p = Math.min(1 - clip, Math.max(clip, probability))
    return label === 1 ? -Math.log(p) : -Math.log1p(-p)
  })
}

/** (p − y)²; the mean is the Brier score, and for a regression the mean squared error. */
export function squaredErrors(predicted: ArrayLike<number>, actual: ArrayLike<number>): Losses {
  return pairwise(predicted, actual, (prediction, truth) => (prediction - truth) ** 2)
}

/** |p − y|; the mean is the MAE. */
export function absoluteErrors(predicted: ArrayLike<number>, actual: ArrayLike<number>): Losses {
  return pairwise(predicted, actual, (prediction, truth) => Math.abs(prediction - truth))
}

/** NaN of nothing. */
export function meanOf(values: ArrayLike<number>): number {
  let sum = 0
  for (let row = 0; row < values.length; row++) sum += values[row]!
  return sum / values.length
}

/** Square root of the mean, as RMSE is of squared errors. */
export function rootMean(values: ArrayLike<number>): number {
  return Math.sqrt(meanOf(values))
}

/** Standard deviation with n − ddof below the sum; NaN with too few values. */
export function deviationOf(values: ArrayLike<number>, ddof: 0 | 1 = 0): number {
  const mean = meanOf(values)
  let sum = 0
  for (let row = 0; row < values.length; row++) sum += (values[row]! - mean) ** 2
  return values.length > ddof ? Math.sqrt(sum / (values.length - ddof)) : Number.NaN
}

function pairwise(
  left: ArrayLike<number>,
  right: ArrayLike<number>,
  loss: (left: number, right: number) => number,
): Losses {
  requireSameLength(left, right)
  return Float64Array.from({ length: left.length }, (_, row) => loss(left[row]!, right[row]!))
}
