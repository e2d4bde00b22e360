import { type Counts, requireSameLength, sharesOf } from './counts.ts'

/**
 * Jensen–Shannon distance with base-2 logarithms, √((KL(p‖m) + KL(q‖m)) / 2), m = (p + q) / 2: 0 for equal shares, 1 for disjoint ones.
 * The distance of base e is this times √ln 2; the divergence is its square. NaN when a side has no records.
 * @throws RangeError when the sides differ in length
 */
export function jensenShannonDistance(reference: Counts, current: Counts): number {
  return jensenShannonOfShares(...sharesPair(reference, current))
}

/** The same of shares, each side adding up to 1. */
export function jensenShannonOfShares(p: ArrayLike<number>, q: ArrayLike<number>): number {
  let bits = 0
  for (let bin = 0; bin < p.length; bin++) {
    const middle = (p[bin]! + q[bin]!) / 2
    if (p[bin] !== 0) bits += p[bin]! * Math.log2(p[bin]! / middle)
    if (q[bin] !== 0) bits += q[bin]! * Math.log2(q[bin]! / middle)
  }
  return rootOf(bits / 2)
}

/**
 * Hellinger distance √(½ Σ (√p − √q)²), from 0 for equal shares to 1 for disjoint ones. NaN when a side has no records.
 * @throws RangeError when the sides differ in length
 */
export function hellingerDistance(reference: Counts, current: Counts): number {
  return hellingerOfShares(...sharesPair(reference, current))
}

/** The same of shares, each side adding up to 1. */
export function hellingerOfShares(p: ArrayLike<number>, q: ArrayLike<number>): number {
  let sum = 0
  for (let bin = 0; bin < p.length; bin++) sum += (Math.sqrt(p[bin]!) - Math.sqrt(q[bin]!)) ** 2
  return Math.min(1, rootOf(sum / 2))
}

/**
 * Total variation distance ½ Σ |p − q|, 0 to 1: the largest difference of any event's share. NaN when a side has no records.
 * @throws RangeError when the sides differ in length
 */
export function totalVariation(reference: Counts, current: Counts): number {
  const [p, q] = sharesPair(reference, current)
  let sum = 0
  for (let bin = 0; bin < p.length; bin++) sum += Math.abs(p[bin]! - q[bin]!)
  return Math.min(1, sum / 2)
}

/**
 * L∞ distance max |p − q|, 0 to 1: the largest difference of one bin's share. NaN when a side has no records.
 * @throws RangeError when the sides differ in length
 */
export function lInfinity(reference: Counts, current: Counts): number {
  const [p, q] = sharesPair(reference, current)
  let largest = 0
  for (let bin = 0; bin < p.length; bin++) largest = Math.max(largest, Math.abs(p[bin]! - q[bin]!))
  return largest
}

function sharesPair(reference: Counts, current: Counts): [Float64Array, Float64Array] {
  requireSameLength(reference, current)
  return [sharesOf(reference), sharesOf(current)]
}

// Rounding may leave a sum of non-negative terms a little below zero; NaN stays NaN.
function rootOf(value: number): number {
  return Math.sqrt(Math.max(value, 0))
}
