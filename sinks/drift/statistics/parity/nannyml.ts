/** NannyML 0.13's drift numbers for a chunk against its reference. Missing values are dropped first; an empty chunk gives NaN. */
import { type ChiSquareTest, chiSquareContingency } from '../chi-square.ts'
import { totalOf } from '../counts.ts'
import { hellingerOfShares, jensenShannonOfShares } from '../divergences.ts'
import { deviationOf, meanOf } from '../losses.ts'
import { fitReconstruction } from '../reconstruction.ts'
import { standardMoments } from '../second-moments.ts'
import { doaneEdges, equalEdges, histogram, rangeOf } from './numpy-bins.ts'
import { ksDistance, wassersteinDistance } from './scipy-distances.ts'

/** From so many reference rows on, KS and Wasserstein come from so many bins of equal width. */
const BINNED_FROM = 10_000
const BINS = 10_000

/** `jensen_shannon` of numbers: Doane's bins of the reference, what is outside in one more, base 2. */
export function nannymlJensenShannon(reference: ArrayLike<number>, chunk: ArrayLike<number>): number {
  return jensenShannonOfShares(...numericShares(reference, chunk))
}

/** `hellinger` of numbers, in the same bins. */
export function nannymlHellinger(reference: ArrayLike<number>, chunk: ArrayLike<number>): number {
  return hellingerOfShares(...numericShares(reference, chunk))
}

/** `jensen_shannon` of categories: the reference's and one for all that it does not have, base 2. */
export function nannymlCategoricalJensenShannon(reference: readonly string[], chunk: readonly string[]): number {
  return jensenShannonOfShares(...categoricalShares(reference, chunk))
}

/** `hellinger` of categories. */
export function nannymlCategoricalHellinger(reference: readonly string[], chunk: readonly string[]): number {
  return hellingerOfShares(...categoricalShares(reference, chunk))
}

/** `l_infinity` of categories, unseen ones each by themselves. */
export function nannymlLInfinity(reference: readonly string[], chunk: readonly string[]): number {
  const [before, now] = categoryCounts(reference, chunk)
  return before.reduce(
    (largest, count, at) => Math.max(largest, Math.abs(count / reference.length - now[at]! / chunk.length)),
    chunk.length === 0 ? Number.NaN : 0,
  )
}

/** `chi2` of categories: contingency table, Yates' correction for two. Its alert is p < 0.05, whatever the threshold. */
export function nannymlChiSquare(reference: readonly string[], chunk: readonly string[]): ChiSquareTest {
  return chiSquareContingency(...categoryCounts(reference, chunk))
}

/** `kolmogorov_smirnov`: exact below 10,000 reference rows, else in bins over the reference's range, mass below it added. */
export function nannymlKolmogorovSmirnov(reference: ArrayLike<number>, chunk: ArrayLike<number>): number {
  const [before, now] = [presentOf(reference), presentOf(chunk)]
  if (before.length < BINNED_FROM || now.length === 0) return ksDistance(before, now)
  const binned = binnedCdfs(before, now)
  return binned.cdf.reduce((largest, f, bin) => Math.max(largest, Math.abs(f - binned.chunk[bin]! - binned.below)), 0)
}

/**
 * `wasserstein`: exact below 10,000 reference rows. Else in bins over the reference's range plus the two tails, where the chunk's
 * distribution function inside the range starts one row too high if there is a row below: (rows below + 1) / rows.
 */
export function nannymlWasserstein(reference: ArrayLike<number>, chunk: ArrayLike<number>): number {
  const [before, now] = [presentOf(reference), presentOf(chunk)]
  if (before.length < BINNED_FROM || now.length === 0) return wassersteinDistance(before, now)
  const { edges, cdf, chunk: inside } = binnedCdfs(before, now)
  const [low, high] = [edges[0]!, edges[BINS]!]
  const smaller = now.filter((value) => value < low)
  const bigger = now.filter((value) => value > high)
  const shift = smaller.length > 0 ? (smaller.length + 1) / now.length : 0
  const width = edges[1]! - edges[0]!
  const within = cdf.reduce((sum, f, bin) => sum + Math.abs(f - inside[bin]! - shift) * width, 0)
  return within + tailOf(smaller, low, now.length) + tailOf(bigger, high, now.length)
}

/**
 * `DataReconstructionDriftCalculator` of numbers: the mean over rows of how far each is, in standard deviations, from what the reference's
 * principal components make of it (our own score is the root of the mean of squares, which adds up over panes). Missing values become the
 * reference's mean, which makes its deviations smaller. NaN without rows. @throws RangeError without reference rows
 */
export function nannymlReconstructionError(
  reference: readonly ArrayLike<number>[],
  chunk: readonly ArrayLike<number>[],
  share = 0.65,
): number {
  const columns = Array.from(reference[0] ?? [], (_, at) => {
    const present = presentOf(reference.map((row) => row[at]!))
    const mean = meanOf(present)
    return { mean, deviation: deviationOf(present) * Math.sqrt(present.length / reference.length) }
  })
  const scale = { means: columns.map(({ mean }) => mean), deviations: columns.map(({ deviation }) => deviation) }
  const { residual } = fitReconstruction(standardMoments(reference, scale), share)
  const distances = chunk.map((row) => {
    const z = columns.map(({ mean, deviation }, at) => {
      const value = row[at]!
      return Number.isNaN(value) ? 0 : (value - mean) / (deviation === 0 ? 1 : deviation)
    })
    return Math.hypot(...z.map((_, i) => z.reduce((left, value, j) => left + residual[i * z.length + j]! * value, 0)))
  })
  return meanOf(distances)
}

/** What it costs to bring the rows outside to the edge. */
function tailOf(values: Float64Array, edge: number, rows: number): number {
  let distance = 0
  for (const value of values) distance += Math.abs(edge - value)
  return distance / rows
}

function binnedCdfs(
  reference: Float64Array,
  chunk: Float64Array,
): { edges: Float64Array; cdf: Float64Array; chunk: Float64Array; below: number } {
  const [low, high] = rangeOf(reference)
  const edges = low === high ? equalEdges(low - 0.5, high + 0.5, BINS) : equalEdges(low, high, BINS)
  const below = chunk.filter((value) => value < edges[0]!).length / chunk.length
  return {
    edges,
    cdf: cumulated(histogram(reference, edges), reference.length),
    chunk: cumulated(histogram(chunk, edges), chunk.length),
    below,
  }
}

function cumulated(counts: Float64Array, total: number): Float64Array {
  let below = 0
  return counts.map((count) => {
    below += count
    return below / total
  })
}

function numericShares(reference: ArrayLike<number>, chunk: ArrayLike<number>): [number[], number[]] {
  const [before, now] = [presentOf(reference), presentOf(chunk)]
  const edges = doaneEdges(before)
  return withLeftover(histogram(before, edges), before.length, histogram(now, edges), now.length)
}

function categoricalShares(reference: readonly string[], chunk: readonly string[]): [number[], number[]] {
  const known = new Set(reference).size
  const [before, now] = categoryCounts(reference, chunk)
  return withLeftover(before.slice(0, known), reference.length, now.slice(0, known), chunk.length)
}

/** Shares, and one more bin for rows that are in none. */
function withLeftover(before: ArrayLike<number>, n: number, now: ArrayLike<number>, m: number): [number[], number[]] {
  const outside = m - totalOf(now)
  return [
    [...Array.from(before, (count) => count / n), 0],
    [...Array.from(now, (count) => count / m), outside / m],
  ]
}

/** Counts by category, the reference's first. */
function categoryCounts(reference: readonly string[], chunk: readonly string[]): [number[], number[]] {
  const index = new Map<string, number>()
  for (const category of [...reference, ...chunk]) if (!index.has(category)) index.set(category, index.size)
  return [reference, chunk].map((values) => {
    const counts = new Array<number>(index.size).fill(0)
    for (const category of values) counts[index.get(category)!]!++
    return counts
  }) as [number[], number[]]
}

function presentOf(values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values).filter((value) => !Number.isNaN(value))
}
