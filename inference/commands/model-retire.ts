import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { ModelEntry } from '../../schemas/control/models.ts'
import { type KnownVersion, knownVersion, nameOf } from '../models/model-entries.ts'
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
  refuseServing(control, known)
  const value: ModelEntry = { ...known.entry, state: 'retired' }
  const { revision } = await control.append({ kind: 'model', name, basedOn: known.revision, value, ...by })
  try {
    // whoever promoted it meanwhile did so before it was retired; who comes later finds it retired
    refuseServing(control, known)
  } catch (error) {
    await control.append({ kind: 'model', name, basedOn: revision, value: known.entry, ...by })
    throw error
  }
  return true
}

function refuseServing(control: ControlLog, known: KnownVersion): void {
  const roles = rolesOf(control, known)
  if (roles.length === 0) return
  throw fatal('version_serves', `${nameOf(known.entry)} is ${roles.join(', ')}: promote another version first`)
}
