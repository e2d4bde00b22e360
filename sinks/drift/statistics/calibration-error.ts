import { orderOf } from './auc.ts'
import { requireSameLength } from './counts.ts'

/**
 * How scores are binned, part of the number's name: `equal-width` cuts [0, 1] into bins (the usual definition), `equal-count` cuts the rows
 * in order of their score into pieces of ⌊rows / bins⌋, the last one with what is left over (NannyML's; a few bins more than asked when few
 * rows divide badly).
 */
export interface BinRule {
  readonly kind: 'equal-width' | 'equal-count'
  readonly bins: number
}

/** One bin of a calibration curve. */
export interface CalibrationBin {
  readonly count: number
  readonly meanScore: number
  readonly positiveRate: number
}

/** Of counts and sums of scores by score bin; empty bins are left out. @throws RangeError when lengths differ */
export function calibrationOfBins(
  positives: ArrayLike<number>,
  negatives: ArrayLike<number>,
  scoreSums: ArrayLike<number>,
): CalibrationBin[] {
  requireSameLength(positives, negatives)
  requireSameLength(positives, scoreSums)
  const curve: CalibrationBin[] = []
  for (let bin = 0; bin < positives.length; bin++) {
    const count = positives[bin]! + negatives[bin]!
    if (count === 0) continue
    curve.push({ count, meanScore: scoreSums[bin]! / count, positiveRate: positives[bin]! / count })
  }
  return curve
}

/** Of rows. @throws RangeError when lengths differ */
export function calibrationCurve(
  scores: ArrayLike<number>,
  labels: ArrayLike<number>,
  rule: BinRule,
): CalibrationBin[] {
  requireSameLength(scores, labels)
  const binOf = rule.kind === 'equal-width' ? byWidth(scores, rule.bins) : byCount(scores, rule.bins)
  const bins = binOf.reduce((most, bin) => Math.max(most, bin + 1), 0)
  const positives = new Float64Array(bins)
  const negatives = new Float64Array(bins)
  const sums = new Float64Array(bins)
  for (let row = 0; row < scores.length; row++) {
    const bin = binOf[row]!
    if (labels[row] === 1) positives[bin]!++
    else negatives[bin]!++
    sums[bin]! += scores[row]!
  }
  return calibrationOfBins(positives, negatives, sums)
}

/** Expected calibration error Σ share·|mean score − rate of positives| of a curve, 0 to 1; NaN of an empty one. */
export function expectedCalibrationError(curve: readonly CalibrationBin[]): number {
  let rows = 0
  let sum = 0
  for (const { count, meanScore, positiveRate } of curve) {
    rows += count
    sum += count * Math.abs(meanScore - positiveRate)
  }
  return sum / rows
}

function byWidth(scores: ArrayLike<number>, bins: number): Uint32Array {
  return Uint32Array.from(scores, (score) => Math.min(bins - 1, Math.max(0, Math.floor(score * bins))))
}

function byCount(scores: ArrayLike<number>, bins: number): Uint32Array {
  const asked = scores.length <= 2 * bins ? Math.max(1, Math.floor(scores.length / 2)) : bins
  const rows = Math.max(1, Math.floor(scores.length / asked))
  const last = Math.floor(scores.length / rows) - 1
  const binOf = new Uint32Array(scores.length)
  for (const [place, row] of orderOf(scores).entries()) binOf[row] = Math.min(last, Math.floor(place / rows))
  return binOf
}
