import { midranks } from './auc.ts'
import { requireSameLength } from './counts.ts'
import { normalTwoSided } from './distributions.ts'
import { deviationOf, type Losses, meanOf } from './losses.ts'

/** Challenger against champion on the same records. */
export interface PairedTest {
  readonly champion: number
  readonly challenger: number
  /** Challenger minus champion. */
  readonly difference: number
  readonly standardError: number
  readonly z: number
  /** Two-sided; 1 when both are the same on every record. */
  readonly pValue: number
}

/**
 * Difference of two AUCs on the same records: DeLong, DeLong and Clarke-Pearson (1988), with midranks as Sun and Xu (2014) compute it,
 * O(n log n). NaN with fewer than two records of a class. @param labels 1 or 0. @throws RangeError when lengths differ, or for NaN
 */
export function compareAucs(
  labels: ArrayLike<number>,
  champion: ArrayLike<number>,
  challenger: ArrayLike<number>,
): PairedTest {
  const before = placements(champion, labels)
  const after = placements(challenger, labels)
  const variance =
    varianceOfDifference(before.positives, after.positives) + varianceOfDifference(before.negatives, after.negatives)
  return pairedTest(meanOf(before.positives), meanOf(after.positives), Math.sqrt(variance))
}

/** Difference of two mean losses on the same records (log loss, squared or absolute error): z of the mean paired difference. */
export function compareLosses(champion: Losses, challenger: Losses): PairedTest {
  requireSameLength(champion, challenger)
  const differences = champion.map((loss, row) => challenger[row]! - loss)
  return pairedTest(meanOf(champion), meanOf(challenger), deviationOf(differences, 1) / Math.sqrt(differences.length))
}

function pairedTest(champion: number, challenger: number, standardError: number): PairedTest {
  const difference = challenger - champion
  const z = standardError === 0 && difference === 0 ? 0 : difference / standardError
  return { champion, challenger, difference, standardError, z, pValue: normalTwoSided(z) }
}

/** For each positive the share of negatives below it, for each negative the share of positives above it; ties half. */
function placements(
  scores: ArrayLike<number>,
  labels: ArrayLike<number>,
): { positives: Float64Array; negatives: Float64Array } {
  requireSameLength(scores, labels)
  const rows = Array.from({ length: scores.length }, (_, row) => row)
  const ranks = midranks(scores)
  const side = (label: 0 | 1): { own: Float64Array; of: number[] } => {
    const of = rows.filter((row) => (labels[row] === 1) === (label === 1))
    return { own: midranks(of.map((row) => scores[row]!)), of }
  }
  const positive = side(1)
  const negative = side(0)
  return {
    positives: Float64Array.from(positive.of, (row, at) => (ranks[row]! - positive.own[at]!) / negative.of.length),
    negatives: Float64Array.from(negative.of, (row, at) => 1 - (ranks[row]! - negative.own[at]!) / positive.of.length),
  }
}

function varianceOfDifference(before: Float64Array, after: Float64Array): number {
  return (
    deviationOf(
      before.map((value, at) => after[at]! - value),
      1,
    ) **
      2 /
    before.length
  )
}
