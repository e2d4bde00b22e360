import type { ControlLog, ControlRecord } from '../../infra/runtime/control/control-log.ts'
import {
  type ApiKeyEntry,
  type LimitSettings,
  SCOPES,
  type Scope,
  type TenantEntry,
} from '../../schemas/control/access.ts'

/** Its keys with the scope `admin` look after all tenants; those of another tenant after their own. */
export const OPERATOR_TENANT = 'millrace'

export type ReadableLog = Pick<ControlLog, 'latest' | 'all'>

const HASH = /^[0-9a-f]{64}$/
const LIMITS = [
  'requestsPerSecond',
  'eventsPerSecond',
  'bytesPerSecond',
  'concurrentRequests',
  'eventsPerMonth',
] as const satisfies readonly (keyof LimitSettings)[]

type Fields = Readonly<Record<string, unknown>>

/** Null when there is no such tenant, or its record is none that this version of the code understands: nobody gets in with it. */
export function tenantOf(control: ReadableLog, name: string): TenantEntry | null {
  const record = control.latest('tenant', name)
  return record === null ? null : tenantIn(record)
}

export function tenantIn({ value }: Pick<ControlRecord, 'value'>): TenantEntry | null {
  if (!isObject(value) || !isLimits(value['limits'])) return null
  const { state, limits } = value
  return state === 'active' || state === 'suspended' ? { state, limits } : null
}

/** Null when the record is no key that this version of the code understands. Scopes that it does not know are left out. */
export function keyIn({ value }: Pick<ControlRecord, 'value'>): ApiKeyEntry | null {
  if (!isObject(value) || !isLimits(value['limits'])) return null
  const { tenant, principal, scopes, hash, limits, createdAt, expiresAt, state } = value
  if (typeof tenant !== 'string' || typeof principal !== 'string' || !Array.isArray(scopes)) return null
  if (typeof hash !== 'string' || !HASH.test(hash) || typeof createdAt !== 'number') return null
  if (expiresAt !== null && typeof expiresAt !== 'number') return null
  if (state !== 'active' && state !== 'revoked') return null
  return { tenant, principal, scopes: scopes.filter(isScope), hash, limits, createdAt, expiresAt, state }
}

/** Neither revoked nor expired. */
export function isLive({ state, expiresAt }: ApiKeyEntry, now: number): boolean {
  return state === 'active' && (expiresAt === null || now < expiresAt)
}

export function isScope(text: unknown): text is Scope {
  return SCOPES.includes(text as Scope)
}

function isLimits(value: unknown): value is LimitSettings {
  return isObject(value) && LIMITS.every((name) => value[name] === null || isCount(value[name]))
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
