import { requireSameLength, totalOf } from './counts.ts'

/**
 * Area under the ROC curve of counts by score bin, ascending: Σ pos·(cumulated neg − neg / 2) / (P·N), ties (and so whole bins) count
 * half. NaN without both classes. @throws RangeError when the sides differ in length
 */
export function binnedAuc(positives: ArrayLike<number>, negatives: ArrayLike<number>): number {
  requireSameLength(positives, negatives)
  let below = 0
  let wins = 0
  for (let bin = 0; bin < positives.length; bin++) {
    wins += positives[bin]! * (below + negatives[bin]! / 2)
    below += negatives[bin]!
  }
  return wins / (totalOf(positives) * totalOf(negatives))
}

/**
 * Exact area under the ROC curve of scores, ties half: the chance that a positive is above a negative. NaN without both classes.
 * @param labels 1 positive, 0 negative
 * @throws RangeError when lengths differ
 */
export function exactAuc(scores: ArrayLike<number>, labels: ArrayLike<number>): number {
  requireSameLength(scores, labels)
  const ranks = midranks(scores)
  let positives = 0
  let rankSum = 0
  for (let row = 0; row < ranks.length; row++) {
    if (labels[row] !== 1) continue
    positives++
    rankSum += ranks[row]!
  }
  return (rankSum - (positives * (positives + 1)) / 2) / (positives * (scores.length - positives))
}

/** Rank of each value from 1, equal values share the mean of theirs. */
export function midranks(values: ArrayLike<number>): Float64Array {
  const order = orderOf(values)
  const ranks = new Float64Array(values.length)
  for (let from = 0; from < order.length; ) {
    let to = from
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++
    for (let at = from; at < to; at++) ranks[order[at]!] = (from + 1 + to) / 2
    from = to
  }
  return ranks
}

/** Row numbers by ascending value; equal ones keep their order. @throws RangeError for NaN, which has no place */
export function orderOf(values: ArrayLike<number>): Uint32Array {
  for (let row = 0; row < values.length; row++) {
    if (Number.isNaN(values[row]!)) throw new RangeError(`row ${row} is NaN`)
  }
  return Uint32Array.from({ length: values.length }, (_, row) => row).sort(
    (left, right) => values[left]! - values[right]! || left - right,
  )
}
