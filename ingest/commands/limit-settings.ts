import { rejected } from '../../infra/runtime/errors.ts'
import type { LimitSettings } from '../../schemas/control/access.ts'

const MOST = 1_000_000_000_000

/** `base` with the limits that are given; null lifts one. Throws `invalid_limit` (reject) for what is no whole number from 1 on. */
export function limitsWith(base: LimitSettings, given: Partial<LimitSettings>): LimitSettings {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || (Number.isInteger(value) && value >= 1 && value <= MOST)) continue
    throw rejected('invalid_limit', `${name} must be a whole number from 1 to ${MOST}, or none`)
  }
  return { ...base, ...given }
}
