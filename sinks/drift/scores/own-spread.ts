import type { ReferenceProfile, ReferenceWindows, Spread } from '../../../schemas/control/profiles.ts'
import type { MetricScore } from './score-subject.ts'

/** What decided a threshold: the size that matters, the noise of a window of that size, or what the reference's own windows show. */
export type ThresholdBy = 'practical' | 'noise_floor' | 'reference_windows'

export interface ThresholdScore extends MetricScore {
  readonly thresholdBy: ThresholdBy
}

const SIGMAS = 3
const LEAST_WINDOWS = 4
const DIGITS = 6

/** A metric over the reference's own windows; null when there are too few to say how much they vary. */
export function spreadOf(values: readonly number[]): Spread | null {
  if (values.length < LEAST_WINDOWS) return null
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  const [m, s, largest] = [mean, Math.sqrt(variance), Math.max(...values)].map((value) =>
    Number(value.toPrecision(DIGITS)),
  )
  return [values.length, m!, s!, largest!]
}

/** A value as windows of other sizes have it too: χ² grows with the rows. */
export function perRow({ metric, value, n, nReference }: MetricScore): number {
  return metric === 'chi2' ? value * (1 / n + 1 / nReference) : value
}

/**
 * Raises a threshold to what the reference's own windows reach: their mean and three standard deviations, at least the largest. So no
 * p-value makes drift of what the reference does by itself.
 */
export function raised(score: MetricScore, spread: Spread | null | undefined): ThresholdScore {
  const { threshold, noiseFloor } = score
  const own = spread == null ? Number.NEGATIVE_INFINITY : ownThreshold(score, spread)
  if (own > threshold) return { ...score, threshold: own, thresholdBy: 'reference_windows' }
  return { ...score, thresholdBy: threshold === noiseFloor ? 'noise_floor' : 'practical' }
}

function ownThreshold(score: MetricScore, [, mean, std, largest]: Spread): number {
  // the largest was rounded
  const own = Math.max(mean + SIGMAS * std, largest * (1 + 10 ** (1 - DIGITS)))
  return score.metric === 'chi2' ? own / (1 / score.n + 1 / score.nReference) : own
}

/** What the profile says of its own windows, by segment. */
export function ownSpreads({ windows }: Pick<ReferenceProfile, 'windows'>) {
  const segments = new Map<string, ReferenceWindows['segments'][number]>()
  for (const each of windows?.segments ?? []) segments.set(each.segment, each)
  return {
    /** Scores of the subject at this place of the profile. */
    ofSubject(segment: string, place: number, scores: readonly MetricScore[]): readonly ThresholdScore[] {
      const spreads = segments.get(segment)?.subjects[place]
      return scores.map((score) => raised(score, spreads?.[score.metric]))
    },
    ofStructure(segment: string, score: MetricScore): ThresholdScore {
      return raised(score, segments.get(segment)?.structure)
    },
  }
}
