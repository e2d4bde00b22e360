import { regularizedBeta } from '../statistics/gamma.ts'
import { type Rate, rateDelta } from '../statistics/rates.ts'

/** With fewer expected records than this on the smaller side, the normal approximation promises too much. */
const FEW = 25

/**
 * p-value, two-sided, of the rates being the same: the pooled z test, or for few records the conditional one: of all that have the
 * property, the window's are binomial with its share of the records (too careful for rates that are not small).
 */
export function rateTest(reference: Rate, current: Rate): number {
  const all = reference.count + current.count
  const share = current.of / (reference.of + current.of)
  const rest = reference.of + current.of - all
  const fewest = Math.min(all, rest) * Math.min(share, 1 - share)
  if (fewest >= FEW) return rateDelta(reference, current).pValue
  const [count, total] = all <= rest ? [current.count, all] : [current.of - current.count, rest]
  if (total === 0) return 1
  // P(X ≥ x) = I_p(x, t − x + 1)
  const atLeast = count === 0 ? 1 : regularizedBeta(count, total - count + 1, share)
  const atMost = count === total ? 1 : 1 - regularizedBeta(count + 1, total - count, share)
  return Math.min(1, 2 * Math.min(atLeast, atMost))
}
