import type { SubjectProfile } from '../../../schemas/control/profiles.ts'
import { chiSquareContingency } from '../statistics/chi-square.ts'
import { type Counts, missingCount, presentCounts, totalOf } from '../statistics/counts.ts'
import { hellingerDistance, jensenShannonDistance, lInfinity, totalVariation } from '../statistics/divergences.ts'
import { kolmogorovPValue } from '../statistics/kolmogorov.ts'
import { chiSquareNoise, hellingerNoise, jensenShannonNoise, kolmogorovNoise } from '../statistics/noise.ts'
import {
  lInfinityNoise,
  type NoiseShape,
  psiNoiseOfReference,
  scaledNoise,
  totalVariationNoise,
  wassersteinNoise,
} from '../statistics/noise-of-reference.ts'
import { binnedKolmogorovSmirnov, binnedWasserstein } from '../statistics/ordered.ts'
import { populationStability } from '../statistics/psi.ts'
import { type Rate, rateDelta } from '../statistics/rates.ts'
import { poolSparse } from './pool-sparse.ts'
import { PRACTICAL } from './practical-thresholds.ts'
import { rateTest } from './rate-test.ts'

/** What one metric says of one subject in one window, before the correction over all that is tested. */
export interface MetricScore {
  readonly metric: string
  readonly value: number
  /** What it reaches without any drift, in 95 of 100 windows of this size. */
  readonly noiseFloor: number
  readonly threshold: number
  /** Metrics with the same test share its p-value, and are one hypothesis. */
  readonly test: 'distribution' | 'order' | 'missing' | 'unseen' | 'structure'
  /** Null = not tested, because there is too little. */
  readonly pValue: number | null
  readonly n: number
  readonly nReference: number
  readonly contributions: ArrayLike<number>
}

/** Counts of a subject as its profile has them, missing last. */
export interface Sides {
  readonly reference: Counts
  readonly current: Counts
}

/** What depends on the reference alone. */
interface ReferenceNoise {
  readonly tvd: NoiseShape
  readonly linf: NoiseShape
  readonly w1: NoiseShape
  /** Null for values, which have no order. */
  readonly scale: Scale | null
}

type Scale = Parameters<typeof binnedWasserstein>[2]

const NONE: readonly number[] = []
/** z of a two-sided 95 %. */
const Z95 = 1.959_963_984_540_054

/** Scores subjects of a profile; remembers what depends on their references alone. */
export function createSubjectScorer(minRows: number) {
  const noises = new WeakMap<Counts, ReferenceNoise>()

  function noiseOf(profile: SubjectProfile, counts: Counts, present: Counts): ReferenceNoise {
    let noise = noises.get(counts)
    if (noise === undefined) {
      const scale = profile.kind === 'numeric' ? scaleOf(profile) : null
      noise = {
        scale,
        tvd: totalVariationNoise(present),
        linf: lInfinityNoise(present),
        w1: scale === null ? { mean: 0, q95: 0 } : wassersteinNoise(present, scale),
      }
      noises.set(counts, noise)
    }
    return noise
  }

  /** Distances of the values that are there. */
  function shape(profile: SubjectProfile, { reference, current }: Sides): MetricScore[] {
    const r = presentCounts(reference)
    const c = presentCounts(current)
    const nReference = totalOf(r)
    const n = totalOf(c)
    const isEnough = n >= minRows && nReference >= minRows
    const ordered = profile.kind === 'numeric'
    const psi = populationStability(r, c)
    const pooled = poolSparse(r, c, ordered)
    const chi2 = chiSquareContingency(pooled.reference, pooled.current)
    const k = r.reduce((occupied, count, bin) => occupied + (count + c[bin]! > 0 ? 1 : 0), 0)
    const effective = 1 / (1 / nReference + 1 / n)
    const distribution = { test: 'distribution', pValue: isEnough ? chi2.pValue : null, n, nReference } as const
    const noise = noiseOf(profile, reference, r)
    const scaled = (kind: 'tvd' | 'linf' | 'w1'): number => scaledNoise(noise[kind], nReference, n).q95
    const score = (metric: keyof typeof PRACTICAL, value: number, noiseFloor: number): MetricScore => ({
      ...{ metric, value, noiseFloor, threshold: Math.max(PRACTICAL[metric], noiseFloor) },
      ...{ ...distribution, contributions: NONE },
    })
    const chi2Floor = chiSquareNoise(pooled.reference.length).q95
    const scores: MetricScore[] = [
      {
        // smoothing alone would make a distance of nothing
        ...score('psi', n > 0 && nReference > 0 ? psi.value : Number.NaN, psiNoiseOfReference(r, n).q95),
        contributions: psi.contributions,
      },
      score('js', jensenShannonDistance(r, c), jensenShannonNoise(nReference, n, k).q95),
      score('hellinger', hellingerDistance(r, c), hellingerNoise(nReference, n, k).q95),
      score('tvd', totalVariation(r, c), scaled('tvd')),
      score('linf', lInfinity(r, c), scaled('linf')),
      {
        metric: 'chi2',
        value: chi2.statistic,
        noiseFloor: chi2Floor,
        // what a PSI of the same practical size would make of so many records
        threshold: Math.max(chi2Floor, PRACTICAL.psi * effective),
        ...{ ...distribution, contributions: NONE },
      },
    ]
    if (noise.scale === null) return scores
    const distance = binnedKolmogorovSmirnov(r, c)
    const order = { test: 'order', pValue: isEnough ? kolmogorovPValue(distance, nReference, n) : null } as const
    scores.push(
      { ...score('ks', distance, kolmogorovNoise(nReference, n).q95), ...order },
      { ...score('w1', binnedWasserstein(r, c, noise.scale), scaled('w1')), ...order },
    )
    return scores
  }

  function rate(metric: 'missing' | 'unseen', reference: Rate, current: Rate): MetricScore {
    const { delta, noise } = rateDelta(reference, current)
    const isEnough = current.of >= minRows && reference.of >= minRows
    const noiseFloor = Z95 * noise
    return {
      ...{ metric, value: Math.abs(delta), noiseFloor, threshold: Math.max(PRACTICAL[metric], noiseFloor) },
      ...{ test: metric, pValue: isEnough ? rateTest(reference, current) : null },
      ...{ n: current.of, nReference: reference.of, contributions: NONE },
    }
  }

  return {
    score(profile: SubjectProfile, sides: Sides): readonly MetricScore[] {
      const [reference, current] = [sides.reference, sides.current].map((counts) => ({
        of: totalOf(counts),
        missing: missingCount(counts),
        // values: those that are named, others, unseen, missing
        unseen: counts[counts.length - 2]!,
      })) as [RateCounts, RateCounts]
      const scores = shape(profile, sides)
      scores.push(
        rate('missing', { count: reference.missing, of: reference.of }, { count: current.missing, of: current.of }),
      )
      if (profile.kind === 'numeric') return scores
      const present = ({ unseen, of, missing }: RateCounts): Rate => ({ count: unseen, of: of - missing })
      scores.push(rate('unseen', present(reference), present(current)))
      return scores
    },
  }
}

interface RateCounts {
  readonly of: number
  readonly missing: number
  readonly unseen: number
}

function scaleOf({ lo, width, bins, std }: Extract<SubjectProfile, { kind: 'numeric' }>): Scale {
  return { edges: Array.from({ length: bins + 1 }, (_, edge) => lo + edge * width), sigma: std }
}
