import type { Principal } from '../../ingest/access/access.ts'
import { type LimitSettings, UNLIMITED } from '../../schemas/control/access.ts'

/** Someone with every scope but those of operators, and with the limits that are named. */
export function principal(
  name: string,
  limits: Partial<LimitSettings> = {},
  more: { readonly tenant?: string; readonly tenantLimits?: Partial<LimitSettings> } = {},
): Principal {
  return {
    name,
    tenant: more.tenant ?? `${name}-tenant`,
    scopes: new Set(['ingest', 'read', 'label', 'model']),
    credential: `key:${name}`,
    limits: { ...UNLIMITED, ...limits },
    tenantLimits: { ...UNLIMITED, ...more.tenantLimits },
  }
}
