import { type Counts, jeffreysShares, requireSameLength } from './counts.ts'

export interface Psi {
  /** Population stability index, natural logarithm; 0 for equal counts, no upper bound. */
  readonly value: number
  /** (p − q)·ln(p / q) of each bin; they are never negative and add up to the value. */
  readonly contributions: Float64Array
}

/**
 * Population stability index Σ (p − q)·ln(p / q) of Jeffreys-smoothed shares, p of the reference, q of the current counts. It is not an
 * average over panes: add the counts up first. Without records on a side that side is uniform; ask for a minimum before.
 * @throws RangeError when the sides differ in length
 */
export function populationStability(reference: Counts, current: Counts): Psi {
  requireSameLength(reference, current)
  const p = jeffreysShares(reference)
  const q = jeffreysShares(current)
  const contributions = new Float64Array(p.length)
  let value = 0
  for (let bin = 0; bin < p.length; bin++) {
    const contribution = (p[bin]! - q[bin]!) * Math.log(p[bin]! / q[bin]!)
    contributions[bin] = contribution
    value += contribution
  }
  return { value, contributions }
}
