import type { Calibration } from '../../../schemas/control/profiles.ts'
import { binnedAuc } from '../statistics/auc.ts'
import { calibrationOfBins, expectedCalibrationError } from '../statistics/calibration-error.ts'
import { confusionOfBins, ratesOfConfusion } from '../statistics/confusion.ts'
import { mergeCounts, totalOf } from '../statistics/counts.ts'
import { isotonicAt } from '../statistics/isotonic.ts'
import type { WindowSums } from './window-sums.ts'

export interface Metric {
  readonly metric: string
  /** NaN where it is not defined. */
  readonly value: number
  /** NaN where it is not known. */
  readonly standardError: number
  /** What it is computed from: all predictions, or those with a label. */
  readonly of: 'predictions' | 'labels'
  readonly params: Readonly<Record<string, string>>
}

/** Bins of the expected calibration error; a whole number of score bins each. */
const ECE_BINS = 10

/** Of what is known; none of a window without labels. */
export function realizedMetrics(sums: WindowSums, threshold: number): readonly Metric[] {
  switch (sums.kind) {
    case 'boolean':
      return [...rankingMetrics(sums), ...probabilityMetrics(sums), ...decisionMetrics(sums, threshold)]
    case 'class': {
      const accuracy = totalOf(sums.positive) / sums.labels
      return [labelled('accuracy', accuracy, ofShare(accuracy, sums.labels)), ...probabilityMetrics(sums)]
    }
    case 'number': {
      const mae = sums.absolute_error / sums.labels
      const rmse = Math.sqrt(sums.squared_error / sums.labels)
      const spread = Math.sqrt(Math.max(0, rmse ** 2 - mae ** 2) / sums.labels)
      return [labelled('mae', mae, spread), labelled('rmse', rmse, ofSquares(sums) / (2 * rmse))]
    }
    case '':
      return []
  }
}

/** What is expected of all predictions before their labels come, if the calibration of the reference still holds. */
export function estimatedMetrics(sums: WindowSums, calibration: Calibration, threshold: number): readonly Metric[] {
  const { positive, negative } = expected(sums.counts, sums.score_sums, calibration)
  const rates = ratesOfConfusion(confusionOfBins(positive, negative, firstPositiveBin(threshold, sums.counts.length)))
  const params = { rule: 'cbpe', bins: String(sums.counts.length) }
  const metric = (name: string, value: number, more: Readonly<Record<string, string>> = {}): Metric => ({
    metric: `estimated_${name}`,
    value,
    standardError: Number.NaN,
    of: 'predictions',
    params: { ...params, ...more },
  })
  const at = { threshold: String(threshold) }
  return [
    metric('auc', binnedAuc(positive, negative)),
    metric('positive_rate', totalOf(positive) / sums.n),
    metric('precision', rates.precision, at),
    metric('recall', rates.recall, at),
    metric('f1', rates.f1, at),
    metric('accuracy', rates.accuracy, at),
  ]
}

/**
 * What was expected of the predictions that have a label, minus what came: 0 but for chance while the relation between features and truth is
 * that of the reference, whatever the features do.
 */
export function gapMetrics(sums: WindowSums, calibration: Calibration): readonly Metric[] {
  if (sums.kind !== 'boolean') return []
  const counts = mergeCounts([sums.positive, sums.negative])
  const estimate = expected(counts, sums.known_score_sums, calibration)
  const positives = totalOf(sums.positive)
  const auc = binnedAuc(sums.positive, sums.negative)
  const rate = positives / sums.labels
  const gap = (metric: string, value: number, standardError: number): Metric => ({
    ...labelled(metric, value, standardError),
    params: { rule: 'cbpe', bins: String(counts.length) },
  })
  return [
    gap('auc_gap', binnedAuc(estimate.positive, estimate.negative) - auc, aucError(sums)),
    gap('positive_rate_gap', totalOf(estimate.positive) / sums.labels - rate, ofShare(rate, sums.labels)),
  ]
}

function expected(counts: readonly number[], scoreSums: readonly number[], calibration: Calibration) {
  const fit = { x: calibration.scores, y: calibration.probabilities }
  const positive = counts.map((count, bin) => {
    if (count === 0) return 0
    return count * Math.min(1, Math.max(0, isotonicAt(fit, (scoreSums[bin] ?? Number.NaN) / count)))
  })
  return { positive, negative: counts.map((count, bin) => count - (positive[bin] ?? Number.NaN)) }
}

function rankingMetrics(sums: WindowSums): readonly Metric[] {
  const params = { bins: String(sums.positive.length) }
  return [{ ...labelled('auc', binnedAuc(sums.positive, sums.negative), aucError(sums)), params }]
}

function probabilityMetrics(sums: WindowSums): readonly Metric[] {
  const [positive, negative, scoreSums] = [sums.positive, sums.negative, sums.known_score_sums].map((bins) =>
    widen(bins),
  )
  const curve = calibrationOfBins(positive ?? [], negative ?? [], scoreSums ?? [])
  return [
    labelled('log_loss', sums.log_loss / sums.labels),
    labelled('brier', sums.squared_error / sums.labels, ofSquares(sums)),
    { ...labelled('ece', expectedCalibrationError(curve)), params: { rule: 'equal-width', bins: String(ECE_BINS) } },
  ]
}

function decisionMetrics(sums: WindowSums, threshold: number): readonly Metric[] {
  const { true_positive: truePositives, false_positive: falsePositives, false_negative: falseNegatives, labels } = sums
  const trueNegatives = labels - truePositives - falsePositives - falseNegatives
  const { precision, recall, f1, accuracy } = ratesOfConfusion({
    truePositives,
    falsePositives,
    falseNegatives,
    trueNegatives,
  })
  const params = { threshold: String(threshold) }
  const positives = truePositives + falseNegatives
  return [
    { ...labelled('precision', precision, ofShare(precision, truePositives + falsePositives)), params },
    { ...labelled('recall', recall, ofShare(recall, positives)), params },
    { ...labelled('f1', f1), params },
    { ...labelled('accuracy', accuracy, ofShare(accuracy, labels)), params },
    labelled('positive_rate', positives / labels, ofShare(positives / labels, labels)),
  ]
}

function labelled(metric: string, value: number, standardError = Number.NaN): Metric {
  return { metric, value, standardError, of: 'labels', params: {} }
}

function ofShare(share: number, n: number): number {
  return Math.sqrt((share * (1 - share)) / n)
}

/** Of a mean of squared errors. */
function ofSquares({ squared_error, fourth_power_error, labels }: WindowSums): number {
  return Math.sqrt(Math.max(0, fourth_power_error / labels - (squared_error / labels) ** 2) / labels)
}

/** DeLong's variance of one AUC, of bins: placements of the positives among the negatives and the other way round. */
function aucError({ positive, negative }: WindowSums): number {
  const side = (own: readonly number[], other: readonly number[]): number => {
    const [n, others] = [totalOf(own), totalOf(other)]
    let below = 0
    let sum = 0
    let squares = 0
    own.forEach((count, bin) => {
      const share = (below + (other[bin] ?? 0) / 2) / others
      sum += count * share
      squares += count * share ** 2
      below += other[bin] ?? 0
    })
    return n < 2 ? Number.NaN : Math.max(0, squares - sum ** 2 / n) / (n - 1) / n
  }
  return Math.sqrt(side(positive, negative) + side(negative, positive))
}

function firstPositiveBin(threshold: number, bins: number): number {
  // a threshold on an edge is that edge, whatever the product's rounding says
  return Math.ceil(Number((threshold * bins).toPrecision(12)))
}

function widen(bins: readonly number[]): readonly number[] {
  const width = bins.length / ECE_BINS
  return Array.from({ length: ECE_BINS }, (_, at) => totalOf(bins.slice(at * width, (at + 1) * width)))
}
