import type { Counts } from '../statistics/counts.ts'
import { totalOf } from '../statistics/counts.ts'

/** Below so many expected records in a cell, a χ² test says more than it knows (Cochran 1954). */
const LEAST_EXPECTED = 5

/**
 * Both sides with bins put together until each expects five records on the smaller side: neighbours where bins have an order, else all
 * sparse ones. What is expected comes from both sides together, so that the choice does not depend on how they differ.
 */
export function poolSparse(
  reference: Counts,
  current: Counts,
  ordered: boolean,
): { readonly reference: number[]; readonly current: number[] } {
  const n = totalOf(reference)
  const m = totalOf(current)
  const share = Math.min(n, m) / (n + m)
  const pooled = { reference: [] as number[], current: [] as number[] }
  const push = (r: number, c: number): void => {
    pooled.reference.push(r)
    pooled.current.push(c)
  }
  let r = 0
  let c = 0
  for (let bin = 0; bin < reference.length; bin++) {
    const isSparse = (reference[bin]! + current[bin]!) * share < LEAST_EXPECTED
    if (!ordered && !isSparse) {
      push(reference[bin]!, current[bin]!)
      continue
    }
    r += reference[bin]!
    c += current[bin]!
    if (ordered && (r + c) * share >= LEAST_EXPECTED) {
      push(r, c)
      r = 0
      c = 0
    }
  }
  if (r + c === 0) return pooled
  const last = pooled.reference.length - 1
  if ((r + c) * share >= LEAST_EXPECTED || last < 0) push(r, c)
  else {
    // too few to stand alone: with the last neighbour, or the smallest of those without an order
    const smallest = pooled.reference.map((count, at) => count + pooled.current[at]!)
    const into = ordered ? last : smallest.indexOf(Math.min(...smallest))
    pooled.reference[into]! += r
    pooled.current[into]! += c
  }
  return pooled
}
