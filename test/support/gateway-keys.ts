import { withControlLog } from '../../infra/cli/control-log.ts'
import { createKey } from '../../ingest/commands/key-create.ts'
import { createTenant } from '../../ingest/commands/tenant-create.ts'
import type { LimitSettings } from '../../schemas/control/access.ts'
import { uniqueName } from './unique-name.ts'

/** Whose events come in by topics that do not say whose they are. */
const DEFAULT_TENANT = 'default'

/** The text of a new API key of the stack that `env` names, to bring events in and read what became of them. */
export function issueKey(
  env: Readonly<Record<string, string>>,
  limits: Partial<LimitSettings> = {},
  tenant = DEFAULT_TENANT,
): Promise<string> {
  return withControlLog(
    async (control) => {
      const by = { actor: 'test', reason: 'test' }
      if (control.latest('tenant', tenant) === null) await createTenant(control, { tenant, limits: {} }, by)
      const how = { principal: uniqueName('client'), expiresAt: null, environment: 'test' }
      const { text } = await createKey(control, { ...how, tenant, scopes: ['ingest', 'read'], limits }, Date.now(), by)
      return text
    },
    { ...process.env, ...env },
  )
}
