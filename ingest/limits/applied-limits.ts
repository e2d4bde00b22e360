import type { LimitSettings } from '../../schemas/control/access.ts'
import type { Principal } from '../access/access.ts'
import type { Cost } from './limits.ts'

/** One limit of a principal: a bucket that fills with `limit` tokens a second and holds as many, or a count per month (UTC). */
export interface AppliedLimit {
  readonly name: string
  /** In Redis and in this process. */
  readonly key: string
  readonly kind: 'rate' | 'month'
  /** Per second, or per month. */
  readonly limit: number
  readonly of: keyof Cost
}

const RATES = [
  ['requests', 'requestsPerSecond'],
  ['events', 'eventsPerSecond'],
  ['bytes', 'bytesPerSecond'],
] as const

const applied = new WeakMap<Principal, readonly AppliedLimit[]>()

/**
 * Those of its credential, then those of its tenant. All keys of a tenant lie on one cluster slot:
 * `millrace:{<tenant>}:limit:<kind>:<credential, or "tenant">`.
 */
export function appliedLimits(principal: Principal): readonly AppliedLimit[] {
  const known = applied.get(principal)
  if (known !== undefined) return known
  const { tenant, credential, limits, tenantLimits } = principal
  const own = limitsOf('key', tenant, credential, limits)
  const all = [...own, ...limitsOf('tenant', tenant, 'tenant', tenantLimits)]
  applied.set(principal, all)
  return all
}

function limitsOf(level: 'key' | 'tenant', tenant: string, whose: string, settings: LimitSettings): AppliedLimit[] {
  const found: AppliedLimit[] = []
  for (const [of, setting] of RATES) {
    const limit = settings[setting]
    if (limit === null) continue
    found.push({ name: `${level}-${of}`, key: `millrace:{${tenant}}:limit:${of}:${whose}`, kind: 'rate', limit, of })
  }
  if (settings.eventsPerMonth !== null) {
    const key = `millrace:{${tenant}}:limit:month:${whose}`
    found.push({ name: `${level}-month`, key, kind: 'month', limit: settings.eventsPerMonth, of: 'events' })
  }
  return found
}
