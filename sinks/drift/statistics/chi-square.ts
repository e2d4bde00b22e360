import { type Counts, requireSameLength, totalOf } from './counts.ts'
import { chiSquareSurvival } from './distributions.ts'

export interface ChiSquareTest {
  readonly statistic: number
  readonly degreesOfFreedom: number
  readonly pValue: number
  /** Smallest expected count; below 5 the p-value is rough. */
  readonly smallestExpected: number
}

/**
 * Pearson's χ² of the 2 × k contingency table of two sets of counts, with Yates' correction when two bins are occupied (as SciPy, alibi-detect
 * and NannyML have it). Bins empty on both sides do not count; with fewer than two left nothing can differ: statistic 0, p 1.
 * NaN when a side has no records. @throws RangeError when the sides differ in length
 */
export function chiSquareContingency(reference: Counts, current: Counts): ChiSquareTest {
  requireSameLength(reference, current)
  const n = totalOf(reference)
  const m = totalOf(current)
  if (n === 0 || m === 0) {
    return { statistic: Number.NaN, degreesOfFreedom: 0, pValue: Number.NaN, smallestExpected: 0 }
  }
  let occupied = 0
  for (let bin = 0; bin < reference.length; bin++) if (reference[bin]! + current[bin]! > 0) occupied++
  const correction = occupied === 2 ? 0.5 : 0
  let statistic = 0
  let smallestExpected = Number.POSITIVE_INFINITY
  for (let bin = 0; bin < reference.length; bin++) {
    const both = reference[bin]! + current[bin]!
    if (both === 0) continue
    // One gap for both rows: what one has too many the other has too few.
    const gap = Math.abs(reference[bin]! - (both * n) / (n + m))
    const corrected = gap - Math.min(correction, gap)
    const expectedReference = (both * n) / (n + m)
    const expectedCurrent = (both * m) / (n + m)
    statistic += corrected ** 2 / expectedReference + corrected ** 2 / expectedCurrent
    smallestExpected = Math.min(smallestExpected, expectedReference, expectedCurrent)
  }
  const degreesOfFreedom = occupied - 1
  const pValue = degreesOfFreedom === 0 ? 1 : chiSquareSurvival(statistic, degreesOfFreedom)
  return { statistic, degreesOfFreedom, pValue, smallestExpected }
}
