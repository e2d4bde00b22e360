import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { ModelEntry } from '../../schemas/control/models.ts'
import { knownVersion } from '../models/model-entries.ts'
import { rolesOf } from './model-list.ts'

/**
 * Takes a version out of service for good; its files stay in the model store. False when it was retired before. Rejects with
 * `version_serves` (crash) while its model's rollout has a use for it.
 */
export async function retireVersion(
  control: ControlLog,
  name: string,
  by: { readonly actor: string; readonly reason: string },
): Promise<boolean> {
  const known = knownVersion(control, name)
  if (known.entry.state === 'retired') return false
  const roles = rolesOf(control, known)
  if (roles.length > 0) throw fatal('version_serves', `${name} is ${roles.join(', ')}: promote another version first`)
  const value: ModelEntry = { ...known.entry, state: 'retired' }
  await control.append({ kind: 'model', name, basedOn: known.revision, value, ...by })
  return true
}
