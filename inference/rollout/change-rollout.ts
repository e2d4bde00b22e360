import type { ControlLog, ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { rejected } from '../../infra/runtime/errors.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'
import { readRollout } from './read-rollout.ts'
import { nextRollout, type RolloutRequest } from './rollout-state.ts'

export interface ChangedBy {
  readonly actor: string
  readonly reason: string
}

/**
 * Takes one step of a model's rollout; resolves with the entry when it took effect. Rejects with the code of a refused step or
 * `unknown_rollout` (reject) when this version of the code does not understand what the log says, with
 * `control_conflict` (reject) when somebody else was faster, and with `retry` when the log cannot be written.
 */
export async function changeRollout(
  control: ControlLog,
  model: string,
  by: ChangedBy,
  decide: (current: RolloutEntry | null) => RolloutRequest,
): Promise<RolloutEntry> {
  const { entry, revision, isUnknown } = readRollout(control, model)
  if (isUnknown) {
    throw rejected('unknown_rollout', `${model}: what the control log says of its rollout is not understood here`)
  }
  const next = nextRollout(entry, decide(entry))
  if (!next.ok) throw rejected(next.code, `${model}: ${next.message}`)
  const change = { kind: 'rollout', name: model, basedOn: revision, value: next.entry, ...by } as const
  const record: ControlRecord = await control.append(change)
  return record.value as RolloutEntry
}
