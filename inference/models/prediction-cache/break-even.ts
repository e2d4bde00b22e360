import type { ModelProfile } from '../../../schemas/control/models.ts'

/**
 * CPU per row of a cache that is larger than the processor's own, µs: `fixed + perFeature · width`. Measured by
 * infra/bench/prediction-cache.ts with 8, 30 and 100 features.
 */
const HIT_US = { fixed: 0.35, perFeature: 0.005 }
const MISS_US = { fixed: 0.45, perFeature: 0.015 }
/** A share of rows that come again this rare is likely; a cache that needs more is not recommended. */
const LIKELY_HIT_RATE = 0.3

const costUs = ({ fixed, perFeature }: typeof HIT_US, width: number): number => fixed + perFeature * width

/**
 * The share of rows that must be found for a cache to cost as much as it saves: with hit rate h it saves h·b and costs
 * h·hit + (1 - h)·miss per row, hence h = miss / (b + miss - hit), which is lookup / b where both cost the same. At least 1 =
 * it can never pay. `rowUs` = b, the cost of a row to the model, µs; `width` = features per row.
 */
export function breakEvenHitRate(rowUs: number, width: number): number {
  const miss = costUs(MISS_US, width)
  const gain = rowUs + miss - costUs(HIT_US, width)
  return gain > 0 ? miss / gain : Number.POSITIVE_INFINITY
}

/** What a model's profile says: whether a cache is worth trying for it. */
export function worthCaching({ rowUs }: Pick<ModelProfile, 'rowUs'>, width: number): boolean {
  return breakEvenHitRate(rowUs, width) <= LIKELY_HIT_RATE
}
