import { type Counts, requireSameLength, sharesOf } from './counts.ts'

/**
 * Kolmogorov–Smirnov distance max |F − G| at the upper edges of ordered bins, 0 to 1: a lower bound of the exact one, by less than the
 * largest share of a bin. NaN when a side has no records. @throws RangeError when the sides differ in length
 */
export function binnedKolmogorovSmirnov(reference: Counts, current: Counts): number {
  const gaps = distributionGaps(reference, current)
  let largest = 0
  for (let bin = 0; bin < gaps.length; bin++) largest = Math.max(largest, gaps[bin]!)
  return largest
}

/**
 * Wasserstein-1 distance of ordered bins in standard deviations, Σ |F − G|·step / σ: counts as if at the middle of their bin, the tails as
 * if half a neighbouring bin outside. With bins of one width that is width·Σ |F − G| / σ. NaN when a side has no records.
 * @param reference counts of k + 2 bins, underflow first and overflow last, without missing
 * @param scale edges: the k + 1 edges, ascending; sigma: the reference's standard deviation, as a divisor never below 0.001 (a constant
 *   feature), as Evidently has it
 * @throws RangeError when lengths do not fit
 */
export function binnedWasserstein(
  reference: Counts,
  current: Counts,
  scale: { readonly edges: ArrayLike<number>; readonly sigma: number },
): number {
  const gaps = distributionGaps(reference, current)
  const steps = stepsBetweenBins(scale.edges, gaps.length)
  let area = 0
  for (let bin = 0; bin < steps.length; bin++) area += gaps[bin]! * steps[bin]!
  return area / Math.max(scale.sigma, 0.001)
}

/** From the point that stands for each bin to the next one's, tails included: bins − 1 steps. @throws RangeError on a wrong length */
export function stepsBetweenBins(edges: ArrayLike<number>, bins: number): Float64Array {
  const inner = edges.length - 1
  if (inner < 1 || bins !== inner + 2) throw new RangeError(`${edges.length} edges do not make ${bins} bins with tails`)
  const width = (bin: number): number => edges[bin + 1]! - edges[bin]!
  const steps = new Float64Array(inner + 1)
  for (let step = 0; step <= inner; step++) {
    steps[step] = (width(Math.max(step - 1, 0)) + width(Math.min(step, inner - 1))) / 2
  }
  return steps
}

/** |F − G| at the upper edge of each bin. */
function distributionGaps(reference: Counts, current: Counts): Float64Array {
  requireSameLength(reference, current)
  const p = sharesOf(reference)
  const q = sharesOf(current)
  const gaps = new Float64Array(p.length)
  let below = 0
  for (let bin = 0; bin < p.length; bin++) {
    below += p[bin]! - q[bin]!
    gaps[bin] = Math.abs(below)
  }
  return gaps
}
