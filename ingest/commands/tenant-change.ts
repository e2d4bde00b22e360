import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { LimitSettings, TenantEntry } from '../../schemas/control/access.ts'
import { limitsWith } from './limit-settings.ts'
import type { By } from './tenant-create.ts'
import { knownTenant, type ListedTenant, listedTenant } from './tenant-list.ts'

export interface TenantChange {
  /** Nobody gets in with a credential of a suspended tenant. */
  readonly state?: TenantEntry['state']
  /** Null lifts a limit; those that are not named stay. */
  readonly limits?: Partial<LimitSettings>
}

/**
 * What is so already is not written again. Rejects with `unknown_tenant`, `invalid_limit` and, when somebody changed the tenant
 * meanwhile, `control_conflict` (reject).
 */
export async function changeTenant(
  control: ControlLog,
  tenant: string,
  { state, limits = {} }: TenantChange,
  by: By,
): Promise<ListedTenant> {
  const { entry, record } = knownTenant(control, tenant)
  const value: TenantEntry = { state: state ?? entry.state, limits: limitsWith(entry.limits, limits) }
  const names = Object.keys(value.limits) as (keyof LimitSettings)[]
  const same = value.state === entry.state && names.every((name) => value.limits[name] === entry.limits[name])
  if (same) return listedTenant(record, entry)
  const basedOn = record.revision
  return listedTenant(await control.append({ kind: 'tenant', name: tenant, basedOn, value, ...by }), value)
}
