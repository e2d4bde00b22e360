import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { ControlRecord } from '../../infra/runtime/control/control-log.ts'
import type { FollowedControlLog } from '../../infra/runtime/control/start-control-log.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import { type ApiKeyEntry, type TenantEntry, UNLIMITED } from '../../schemas/control/access.ts'
import type { Access, Admission, Principal } from './access.ts'
import { isLive, keyIn, tenantIn, tenantOf } from './entries.ts'
import { claimsToBeKey, hashSecret, parseKey } from './key-text.ts'
import type { LastUsed } from './last-used.ts'
import { createTokens, type JwtSettings } from './tokens.ts'

export interface AccessDeps {
  readonly control: Pick<FollowedControlLog, 'latest' | 'all' | 'readAt'>
  /** Null = no tokens are taken. */
  readonly jwt: JwtSettings | null
  /**
   * What the control log said is trusted for so long after it was last read to its end, ms; then nobody gets in (503), since a
   * key may have been revoked meanwhile. Default 30 s.
   */
  readonly maxStaleMs?: number
  readonly clock: Clock
  readonly logger: Logger
  readonly lastUsed: Pick<LastUsed, 'used'>
}

const MAX_STALE_MS = 30_000
const BEARER = /^bearer +(\S+)$/i

const refuse = (status: 401 | 403 | 503, code: string, detail: string): Admission & { ok: false } =>
  Object.freeze({ ok: false, status, code, detail })

const MISSING = refuse(
  401,
  'missing_credential',
  'the request has no credential: send Authorization: Bearer or X-API-Key',
)
const AMBIGUOUS = refuse(401, 'ambiguous_credential', 'the request has two credentials: send one')
const INVALID = refuse(401, 'invalid_credential', 'the credential is not valid')
const TENANT = refuse(403, 'tenant_refused', "the credential's tenant may not use this gateway")
const STALE = refuse(503, 'access_unavailable', 'the gateway cannot tell at present who may use it; try again')

/** A key as the log has it, made ready for requests once. */
interface KnownKey {
  readonly entry: ApiKeyEntry
  readonly hash: Buffer
  /** The principal, and the record of its tenant that it was made from. */
  made: { readonly tenant: ControlRecord; readonly principal: Principal } | null
}

/** Decides on what the control log in memory says at the moment, so that a revocation holds from when its entry is read. */
export function createAccess(deps: AccessDeps): Access {
  const { control, jwt, maxStaleMs = MAX_STALE_MS, clock, logger, lastUsed } = deps
  const tokens = jwt === null ? null : createTokens(jwt, clock)
  const known = new WeakMap<ControlRecord, KnownKey | null>()
  /** No secret has this hash. */
  const nobody = randomBytes(32)

  function keyOf(record: ControlRecord): KnownKey | null {
    let key = known.get(record)
    if (key === undefined) {
      const entry = keyIn(record)
      key = entry === null ? null : { entry, hash: Buffer.from(entry.hash, 'hex'), made: null }
      known.set(record, key)
      if (key === null) logger.error({ key: record.name }, 'the record of an API key is not understood: it is refused')
    }
    return key
  }

  function admitKey(text: string): Admission {
    const given = parseKey(text)
    if (given === null) return INVALID
    const record = control.latest('api-key', given.id)
    const key = record === null ? null : keyOf(record)
    // hashed and compared also when there is no such key
    const matches = timingSafeEqual(hashSecret(given.secret), key?.hash ?? nobody)
    if (!matches || key === null || !isLive(key.entry, clock.now())) return INVALID
    const tenant = control.latest('tenant', key.entry.tenant)
    if (tenant === null) return TENANT
    if (key.made?.tenant !== tenant) {
      const entry = tenantIn(tenant)
      if (!isActive(entry)) return TENANT
      const { principal: name, scopes, limits } = key.entry
      const credential = `key:${given.id}`
      const principal: Principal = {
        ...{ name, tenant: tenant.name, scopes: new Set(scopes), credential, limits },
        tenantLimits: entry.limits,
      }
      key.made = { tenant, principal }
    }
    lastUsed.used(given.id)
    return { ok: true, principal: key.made.principal }
  }

  async function admitToken(text: string): Promise<Admission> {
    if (tokens === null || jwt === null) return INVALID
    const verdict = await tokens.read(text)
    if (!verdict.ok) {
      if (verdict.why === 'invalid') return INVALID
      logger.warn(describeError(verdict.error), 'a token cannot be checked')
      return STALE
    }
    const { subject: name, tenant, scopes } = verdict
    const entry = tenant === null ? null : tenantOf(control, tenant)
    if (tenant === null || !isActive(entry)) return TENANT
    const credential = `sub:${jwt.issuer}#${name}`
    return {
      ok: true,
      principal: { name, tenant, scopes, credential, limits: UNLIMITED, tenantLimits: entry.limits },
    }
  }

  return {
    async admit(headers) {
      const { authorization, 'x-api-key': apiKey } = headers
      if (authorization === undefined && apiKey === undefined) return MISSING
      if (authorization !== undefined && apiKey !== undefined) return AMBIGUOUS
      if (clock.now() - control.readAt > maxStaleMs) return STALE
      if (typeof apiKey === 'string') return admitKey(apiKey)
      const text = typeof authorization === 'string' ? BEARER.exec(authorization)?.[1] : undefined
      if (text === undefined) return INVALID
      if (claimsToBeKey(text)) return admitKey(text)
      try {
        return await admitToken(text)
      } catch (error) {
        logger.error(describeError(error), 'a token could not be read')
        return STALE
      }
    },
  }
}

function isActive(tenant: TenantEntry | null): tenant is TenantEntry {
  return tenant?.state === 'active'
}
