import type { ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { rejected } from '../../infra/runtime/errors.ts'
import type { LimitSettings, TenantEntry } from '../../schemas/control/access.ts'
import { type ReadableLog, tenantIn } from '../access/entries.ts'

/** A tenant, and who changed it last. */
export interface ListedTenant {
  readonly tenant: string
  readonly state: TenantEntry['state']
  readonly limits: LimitSettings
  readonly actor: string
  readonly reason: string
  /** Epoch ms. */
  readonly at: number
}

/** By name; records that are not understood are left out. */
export function listTenants(control: ReadableLog): readonly ListedTenant[] {
  const listed: ListedTenant[] = []
  for (const record of control.all('tenant').values()) {
    const entry = tenantIn(record)
    if (entry !== null) listed.push(listedTenant(record, entry))
  }
  return listed.sort((a, b) => (a.tenant < b.tenant ? -1 : 1))
}

export function listedTenant({ name, actor, reason, at }: ControlRecord, entry: TenantEntry): ListedTenant {
  return { tenant: name, ...entry, actor, reason, at }
}

/** Throws `unknown_tenant` (reject). */
export function knownTenant(
  control: ReadableLog,
  name: string,
): { readonly entry: TenantEntry; readonly record: ControlRecord } {
  const record = control.latest('tenant', name)
  const entry = record === null ? null : tenantIn(record)
  if (record === null || entry === null) throw rejected('unknown_tenant', `there is no tenant ${name}`)
  return { entry, record }
}
