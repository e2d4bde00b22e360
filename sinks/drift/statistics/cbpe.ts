/**
 * Confidence-based performance estimation: what a classifier's AUC, precision, recall and F1 are expected to be before labels have come, if
 * calibrated probabilities still hold, which is to say without concept drift. NannyML's rules, so that its published figures come out.
 */
import { exactAuc, orderOf } from './auc.ts'
import { calibrationCurve, expectedCalibrationError } from './calibration-error.ts'
import { expectedConfusion, ratesOfConfusion } from './confusion.ts'
import { requireSameLength } from './counts.ts'
import { fitIsotonic, type IsotonicFit, isotonicAt } from './isotonic.ts'

/** `null`: the scores are used as they are. */
export type Calibration = IsotonicFit | null

const FOLDS = 10
const ECE_RULE = { kind: 'equal-count', bins: 10 } as const

/**
 * Calibration of a reference: isotonic on all its rows, used only if it lowers the expected calibration error (10 bins of equal count) on rows
 * it was not fitted on. NannyML draws ten stratified tenths at random; here they are cut in the order of the rows, so that the same reference
 * always decides the same. No calibration for a single class or an AUC above 0.999. @throws RangeError when lengths differ, or for NaN
 */
export function fitCalibration(scores: ArrayLike<number>, labels: ArrayLike<number>): Calibration {
  const auc = exactAuc(scores, labels)
  if (Number.isNaN(auc) || auc > 0.999) return null
  const heldOut = heldOutProbabilities(scores, labels)
  const before = expectedCalibrationError(calibrationCurve(scores, labels, ECE_RULE))
  const after = expectedCalibrationError(calibrationCurve(heldOut, labels, ECE_RULE))
  return before > after ? fitIsotonic(scores, labels) : null
}

export function calibrated(calibration: Calibration, scores: ArrayLike<number>): Float64Array {
  return Float64Array.from(scores, (score) => (calibration === null ? score : isotonicAt(calibration, score)))
}

/**
 * Expected AUC: rows by descending raw score, each p of a positive and 1 − p of a negative; the curve's points rounded to five decimals as
 * NannyML has them. NaN without rows.
 * @param probabilities calibrated ones of the same rows
 */
export function estimatedAuc(scores: ArrayLike<number>, probabilities: ArrayLike<number>): number {
  requireSameLength(scores, probabilities)
  const order = orderOf(scores)
  const points = [[0, 0]]
  let positives = 0
  for (let place = order.length - 1; place >= 0; place--) {
    positives += probabilities[order[place]!]!
    points.push([roundEven(order.length - place - positives), roundEven(positives)])
  }
  const [allNegatives, allPositives] = points.at(-1)!
  let area = 0
  for (let place = 1; place < points.length; place++) {
    const [x0, y0] = points[place - 1]!
    const [x1, y1] = points[place]!
    area += ((x1! - x0!) * (y0! + y1!)) / 2
  }
  return area / (allNegatives! * allPositives!)
}

/** Expected precision, recall, F1 and accuracy; NaN where undefined (NannyML has 0 there). @param predicted 1 or 0 */
export function estimatedRates(
  predicted: ArrayLike<number>,
  probabilities: ArrayLike<number>,
): ReturnType<typeof ratesOfConfusion> {
  return ratesOfConfusion(expectedConfusion(predicted, probabilities))
}

/** The probability of each row from a fit on the other folds; folds take turns within each class. */
function heldOutProbabilities(scores: ArrayLike<number>, labels: ArrayLike<number>): Float64Array {
  const seen = [0, 0]
  const foldOf = Uint8Array.from({ length: scores.length }, (_, row) => seen[labels[row] === 1 ? 1 : 0]!++ % FOLDS)
  const heldOut = new Float64Array(scores.length)
  for (let fold = 0; fold < FOLDS; fold++) {
    const others = Array.from(foldOf.keys()).filter((row) => foldOf[row] !== fold)
    const fit = fitIsotonic(
      others.map((row) => scores[row]!),
      others.map((row) => labels[row]!),
    )
    for (let row = 0; row < scores.length; row++) {
      if (foldOf[row] === fold) heldOut[row] = isotonicAt(fit, scores[row]!)
    }
  }
  return heldOut
}

/** To five decimals, a half to the even side, as NumPy rounds. */
function roundEven(value: number): number {
  const scaled = value * 1e5
  const floor = Math.floor(scaled)
  const half = scaled - floor
  return (half > 0.5 || (half === 0.5 && floor % 2 !== 0) ? floor + 1 : floor) / 1e5
}
