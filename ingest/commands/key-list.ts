import type { ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { rejected } from '../../infra/runtime/errors.ts'
import type { ApiKeyEntry, LimitSettings, Scope } from '../../schemas/control/access.ts'
import { isLive, keyIn, type ReadableLog } from '../access/entries.ts'

/** A key without what it is checked by. */
export interface ListedKey {
  readonly id: string
  readonly tenant: string
  readonly principal: string
  readonly scopes: readonly Scope[]
  readonly limits: LimitSettings
  /** Epoch ms. */
  readonly createdAt: number
  /** Epoch ms; null = it does not expire. */
  readonly expiresAt: number | null
  readonly state: 'active' | 'expired' | 'revoked'
}

export interface KnownKey {
  readonly id: string
  readonly entry: ApiKeyEntry
  /** Of the record. */
  readonly revision: number
}

/** By tenant, principal and age; `tenant` null = of all. Records that are not understood are left out. */
export function listKeys(control: ReadableLog, tenant: string | null, now: number): readonly ListedKey[] {
  return knownKeys(control)
    .filter(({ entry }) => tenant === null || entry.tenant === tenant)
    .sort(
      ({ entry: a }, { entry: b }) =>
        compare(a.tenant, b.tenant) || compare(a.principal, b.principal) || a.createdAt - b.createdAt,
    )
    .map((key) => listedKey(key, now))
}

export function listedKey({ id, entry }: Pick<KnownKey, 'id' | 'entry'>, now: number): ListedKey {
  const { tenant, principal, scopes, limits, createdAt, expiresAt } = entry
  const state = entry.state === 'active' && !isLive(entry, now) ? 'expired' : entry.state
  return { id, tenant, principal, scopes, limits, createdAt, expiresAt, state }
}

export function knownKeys(control: ReadableLog): KnownKey[] {
  return [...control.all('api-key').values()].flatMap((record) => known(record) ?? [])
}

/** Throws `unknown_key` (reject). */
export function knownKey(control: ReadableLog, id: string): KnownKey {
  const record = control.latest('api-key', id)
  const key = record === null ? null : known(record)
  if (key === null) throw rejected('unknown_key', `there is no key ${id}`)
  return key
}

function known(record: ControlRecord): KnownKey | null {
  const entry = keyIn(record)
  return entry === null ? null : { id: record.name, entry, revision: record.revision }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
