import { requireSameLength } from './counts.ts'

/** Records by what was predicted and what came, counted or expected (then no integers). */
export interface Confusion {
  readonly truePositives: number
  readonly falsePositives: number
  readonly falseNegatives: number
  readonly trueNegatives: number
}

/** Of rows, positive from the threshold on. @throws RangeError when lengths differ */
export function confusionAt(scores: ArrayLike<number>, labels: ArrayLike<number>, threshold: number): Confusion {
  requireSameLength(scores, labels)
  return expectedConfusion(
    Uint8Array.from(scores, (score) => (score >= threshold ? 1 : 0)),
    labels,
  )
}

/** Of counts by score bin: bins from `firstPositive` on are predicted positive. @throws RangeError when lengths differ */
export function confusionOfBins(
  positives: ArrayLike<number>,
  negatives: ArrayLike<number>,
  firstPositive: number,
): Confusion {
  requireSameLength(positives, negatives)
  const cells = { truePositives: 0, falsePositives: 0, falseNegatives: 0, trueNegatives: 0 }
  for (let bin = 0; bin < positives.length; bin++) {
    cells[bin >= firstPositive ? 'truePositives' : 'falseNegatives'] += positives[bin]!
    cells[bin >= firstPositive ? 'falsePositives' : 'trueNegatives'] += negatives[bin]!
  }
  return cells
}

/**
 * Expected when a row is positive with a probability (a label is one of 0 or 1): Σp and Σ(1 − p) by predicted class, as CBPE does.
 * @throws RangeError when lengths differ
 */
export function expectedConfusion(predicted: ArrayLike<number>, probabilities: ArrayLike<number>): Confusion {
  requireSameLength(predicted, probabilities)
  const cells = { truePositives: 0, falsePositives: 0, falseNegatives: 0, trueNegatives: 0 }
  for (let row = 0; row < predicted.length; row++) {
    const positive = predicted[row] === 1
    cells[positive ? 'truePositives' : 'falseNegatives'] += probabilities[row]!
    cells[positive ? 'falsePositives' : 'trueNegatives'] += 1 - probabilities[row]!
  }
  return cells
}

/** NaN where nothing was predicted positive (precision), nothing is (recall), or neither (F1). */
export function ratesOfConfusion(cells: Confusion): {
  readonly precision: number
  readonly recall: number
  readonly f1: number
  readonly accuracy: number
} {
  const { truePositives: hits, falsePositives: alarms, falseNegatives: misses, trueNegatives: passes } = cells
  return {
    precision: hits / (hits + alarms),
    recall: hits / (hits + misses),
    f1: (2 * hits) / (2 * hits + alarms + misses),
    accuracy: (hits + passes) / (hits + alarms + misses + passes),
  }
}
