import { orderOf } from './auc.ts'
import { requireSameLength } from './counts.ts'

/** A non-decreasing function through points: straight between them, constant outside. Ascending x; small enough to be stored. */
export interface IsotonicFit {
  readonly x: readonly number[]
  readonly y: readonly number[]
}

/**
 * Isotonic least-squares regression by pooling adjacent violators (Barlow et al. 1972); rows of the same x are averaged first and points
 * inside a flat piece left out, as scikit-learn does. Without rows a fit without points, whose value is NaN. O(n log n).
 * @throws RangeError when lengths differ, or for NaN
 */
export function fitIsotonic(x: ArrayLike<number>, y: ArrayLike<number>): IsotonicFit {
  requireSameLength(x, y)
  const order = orderOf(x)
  // Blocks of neighbouring distinct x with one value: first and last x, mean of y, rows.
  const blocks: { first: number; last: number; mean: number; weight: number }[] = []
  for (let from = 0; from < order.length; ) {
    const at = x[order[from]!]!
    let sum = 0
    let weight = 0
    for (; from < order.length && x[order[from]!] === at; from++) {
      sum += y[order[from]!]!
      weight++
    }
    let block = { first: at, last: at, mean: sum / weight, weight }
    for (let before = blocks.at(-1); before !== undefined && before.mean >= block.mean; before = blocks.at(-1)) {
      blocks.pop()
      const both = before.weight + block.weight
      const mean = (before.mean * before.weight + block.mean * block.weight) / both
      block = { first: before.first, last: block.last, mean, weight: both }
    }
    blocks.push(block)
  }
  const points = blocks.flatMap(({ first, last, mean }) =>
    first === last
      ? [[first, mean]]
      : [
          [first, mean],
          [last, mean],
        ],
  )
  return { x: points.map((point) => point[0]!), y: points.map((point) => point[1]!) }
}

/** Value of the fit at a score. */
export function isotonicAt(fit: IsotonicFit, score: number): number {
  const { x, y } = fit
  if (x.length === 0 || Number.isNaN(score)) return Number.NaN
  let low = 0
  let high = x.length - 1
  if (score <= x[low]!) return y[low]!
  if (score >= x[high]!) return y[high]!
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (x[middle]! <= score) low = middle
    else high = middle
  }
  return y[low]! + ((y[high]! - y[low]!) * (score - x[low]!)) / (x[high]! - x[low]!)
}
