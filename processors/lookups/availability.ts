import type { CompiledTable } from '../../schemas/pipeline/compiled.ts'

/**
 * What becomes of lookups while a table cannot be read:
 *
 *   available    the last answer was good
 *   waiting      unavailable for less than the policy's `afterMs`, or the policy is to pause: the caller tries again
 *   degraded     unavailable for longer: every row counts as missing, until an answer is good again
 */
export type Availability = 'available' | 'waiting' | 'degraded'

export interface TableAvailability {
  answered(): Availability
  failed(): Availability
}

/** `now`: monotonic ms. */
export function createAvailability(policy: CompiledTable['onUnavailable'], now: () => number): TableAvailability {
  let since: number | null = null
  return {
    answered() {
      since = null
      return 'available'
    },
    failed() {
      since ??= now()
      return policy.policy === 'degrade' && now() - since >= policy.afterMs ? 'degraded' : 'waiting'
    },
  }
}
