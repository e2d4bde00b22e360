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
  const contributions = p.map((share, bin) => (share - q[bin]!) * Math.log(share / q[bin]!))
  let value = 0
  for (const contribution of contributions) value += contribution
  return { value, contributions }
}
