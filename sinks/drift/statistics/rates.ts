import { normalTwoSided } from './distributions.ts'

/** So many records of so many: missing ones, or ones with a value that the reference never had. */
export interface Rate {
  readonly count: number
  readonly of: number
}

export interface RateDelta {
  readonly reference: number
  readonly current: number
  /** Current minus reference, −1 to 1. */
  readonly delta: number
  /** Standard error of the delta when nothing has changed. */
  readonly noise: number
  /** Two-sided, of delta / noise. */
  readonly pValue: number
}

/**
 * Difference of two rates. The noise is that of the pooled rate r, √(r(1 − r)·(1/n + 1/m)), r with half a record of each kind added so that
 * a rate of 0 on both sides keeps a width; an approximation that needs a few records of each kind. NaN when a side has no records.
 */
export function rateDelta(reference: Rate, current: Rate): RateDelta {
  const before = reference.count / reference.of
  const now = current.count / current.of
  const pooled = (reference.count + current.count + 0.5) / (reference.of + current.of + 1)
  const noise = Math.sqrt(pooled * (1 - pooled) * (1 / reference.of + 1 / current.of))
  const delta = now - before
  return { reference: before, current: now, delta, noise, pValue: normalTwoSided(delta / noise) }
}
