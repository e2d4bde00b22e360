import { deviationOf, meanOf } from './losses.ts'

export interface Thresholds {
  readonly lower: number
  readonly upper: number
}

/**
 * Mean ± so many standard deviations (ddof 0) of a metric over windows of the reference, kept inside what the metric can be: NannyML's
 * rule. NaN values (windows with too few records) are left out; NaN without any.
 */
export function thresholdsOfWindows(
  values: readonly number[],
  options: { readonly deviations?: number; readonly lowest?: number; readonly highest?: number } = {},
): Thresholds {
  const { deviations = 3, lowest = Number.NEGATIVE_INFINITY, highest = Number.POSITIVE_INFINITY } = options
  const known = values.filter((value) => !Number.isNaN(value))
  const mean = meanOf(known)
  const reach = deviations * deviationOf(known)
  return { lower: Math.max(lowest, mean - reach), upper: Math.min(highest, mean + reach) }
}

/** Quantile of values by linear interpolation (NumPy's default); NaN values are left out, NaN without any. */
export function quantileOf(values: readonly number[], q: number): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((left, right) => left - right)
  if (sorted.length === 0) return Number.NaN
  const place = q * (sorted.length - 1)
  const low = sorted[Math.floor(place)]!
  return low + (sorted[Math.ceil(place)]! - low) * (place - Math.floor(place))
}
