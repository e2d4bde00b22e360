import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { rejected } from '../../infra/runtime/errors.ts'
import { type ApiKeyEntry, type LimitSettings, type Scope, UNLIMITED } from '../../schemas/control/access.ts'
import { isLive, isScope } from '../access/entries.ts'
import { hashSecret, isEnvironment, makeKey } from '../access/key-text.ts'
import { knownKey, knownKeys, type ListedKey, listedKey } from './key-list.ts'
import { revokeKey } from './key-revoke.ts'
import { limitsWith } from './limit-settings.ts'
import { type By, createTenant } from './tenant-create.ts'
import { knownTenant } from './tenant-list.ts'

export interface KeyRequest {
  readonly tenant: string
  /** The service or person that will hold it. */
  readonly principal: string
  readonly scopes: readonly Scope[]
  /** Epoch ms; null = it does not expire. */
  readonly expiresAt: number | null
  /** Those that are not given are none. */
  readonly limits: Partial<LimitSettings>
  /** Second part of the text, e.g. `live`. */
  readonly environment: string
}

export interface CreatedKey {
  /** The key itself: nobody can tell it again. */
  readonly text: string
  readonly key: ListedKey
}

/** So that one can replace the other. */
const MOST_LIVE = 2
const PRINCIPAL = /^[\x21-\x7e][\x20-\x7e]{0,127}$/

/**
 * A new key with a random secret. Rejects with `too_many_keys` when the principal has two live ones, `unknown_tenant`,
 * `invalid_key` and `invalid_limit` (reject).
 */
export async function createKey(control: ControlLog, request: KeyRequest, now: number, by: By): Promise<CreatedKey> {
  const { tenant, principal, scopes, expiresAt, environment } = request
  checkRequest(request, now)
  knownTenant(control, tenant)
  const live = liveKeys(control, request, now)
  if (live.length >= MOST_LIVE) throw tooMany(request, live)

  const { id, secret, text } = makeKey(environment)
  const value: ApiKeyEntry = {
    ...{ tenant, principal, scopes: [...new Set(scopes)] },
    hash: hashSecret(secret).toString('hex'),
    limits: limitsWith(UNLIMITED, request.limits),
    ...{ createdAt: now, expiresAt, state: 'active' },
  }
  const { revision } = await control.append({ kind: 'api-key', name: id, basedOn: null, value, ...by })
  // keys are subjects of their own, so somebody else's may have come at the same time: of them the first in the log stay
  const before = liveKeys(control, request, now).filter((key) => key.revision < revision)
  if (before.length >= MOST_LIVE) {
    await revokeKey(control, id, { actor: by.actor, reason: 'the principal has two live keys' })
    throw tooMany(request, before)
  }
  return { text, key: listedKey({ id, entry: value }, now) }
}

/** A second key for the holder of the first one, which stays as it is until it is revoked. Rejects as `createKey`, and with `unknown_key`. */
export async function rotateKey(
  control: ControlLog,
  id: string,
  how: { readonly expiresAt: number | null; readonly environment: string },
  now: number,
  by: By,
): Promise<CreatedKey> {
  const { tenant, principal, scopes, limits } = knownKey(control, id).entry
  return await createKey(control, { tenant, principal, scopes, limits, ...how }, now, by)
}

const DEVELOPMENT = { principal: 'development', environment: 'dev' }

/**
 * The key of somebody who develops on a local stack, instead of the one before it: random, for everything that the HTTP interface
 * offers to the tenant. The tenant is made where there is none. Answers its text.
 */
export async function createDevelopmentKey(
  control: ControlLog,
  { tenant, now }: { readonly tenant: string; readonly now: number },
): Promise<string> {
  const by = { actor: 'local stack', reason: 'development key' }
  if (control.latest('tenant', tenant) === null) await createTenant(control, { tenant, limits: {} }, by)
  const { principal, environment } = DEVELOPMENT
  for (const { id } of liveKeys(control, { tenant, principal }, now)) await revokeKey(control, id, by)
  const scopes: readonly Scope[] = ['ingest', 'read', 'label', 'admin']
  const request = { tenant, principal, scopes, expiresAt: null, limits: {}, environment }
  return (await createKey(control, request, now, by)).text
}

function liveKeys(control: ControlLog, of: Pick<KeyRequest, 'tenant' | 'principal'>, now: number) {
  return knownKeys(control).filter(
    ({ entry }) => entry.tenant === of.tenant && entry.principal === of.principal && isLive(entry, now),
  )
}

function checkRequest({ principal, scopes, expiresAt, environment }: KeyRequest, now: number): void {
  const wrong = !PRINCIPAL.test(principal)
    ? 'the principal is named by up to 128 printable ASCII characters'
    : scopes.length === 0 || !scopes.every(isScope)
      ? 'a key needs scopes, and only those that there are'
      : expiresAt !== null && !(expiresAt > now)
        ? 'the key would have expired already'
        : isEnvironment(environment)
          ? null
          : 'the environment is 1 to 16 of a-z 0-9'
  if (wrong !== null) throw rejected('invalid_key', wrong)
}

function tooMany({ principal, tenant }: KeyRequest, live: readonly { readonly id: string }[]) {
  const ids = live.map(({ id }) => id).join(', ')
  return rejected('too_many_keys', `${principal} of ${tenant} has ${live.length} live keys (${ids}): revoke one first`)
}
