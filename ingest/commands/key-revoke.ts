import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { ApiKeyEntry } from '../../schemas/control/access.ts'
import { knownKey } from './key-list.ts'
import type { By } from './tenant-create.ts'

/**
 * Takes a key out of service for good: gateways refuse it as soon as they have read so, within seconds. False when it was
 * revoked before. Rejects with `unknown_key` (reject).
 */
export async function revokeKey(control: ControlLog, id: string, by: By): Promise<boolean> {
  const { entry, revision } = knownKey(control, id)
  if (entry.state === 'revoked') return false
  const value: ApiKeyEntry = { ...entry, state: 'revoked' }
  await control.append({ kind: 'api-key', name: id, basedOn: revision, value, ...by })
  return true
}
