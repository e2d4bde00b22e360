import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { rejected } from '../../infra/runtime/errors.ts'
import { type LimitSettings, type TenantEntry, UNLIMITED } from '../../schemas/control/access.ts'
import { limitsWith } from './limit-settings.ts'
import { type ListedTenant, listedTenant } from './tenant-list.ts'

export interface By {
  readonly actor: string
  readonly reason: string
}

const TENANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

/**
 * Limits that are not given are none. Rejects with `tenant_exists`, `invalid_tenant` and `invalid_limit` (reject).
 */
export async function createTenant(
  control: ControlLog,
  { tenant, limits }: { readonly tenant: string; readonly limits: Partial<LimitSettings> },
  by: By,
): Promise<ListedTenant> {
  if (!TENANT.test(tenant)) {
    throw rejected(
      'invalid_tenant',
      'a tenant is named by up to 63 of a-z A-Z 0-9 . _ - and begins with a letter or digit',
    )
  }
  if (control.latest('tenant', tenant) !== null) throw rejected('tenant_exists', `there is a tenant ${tenant} already`)
  const value: TenantEntry = { state: 'active', limits: limitsWith(UNLIMITED, limits) }
  return listedTenant(await control.append({ kind: 'tenant', name: tenant, basedOn: null, value, ...by }), value)
}
