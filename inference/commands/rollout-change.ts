import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { RolloutEntry, RolloutPlan } from '../../schemas/control/models.ts'
import { type ChangedBy, changeRollout } from '../rollout/change-rollout.ts'
import { readRollout } from '../rollout/read-rollout.ts'
import { WHOLE } from '../rollout/rollout-state.ts'

export type Step =
  | { readonly to: 'rollback' }
  | { readonly to: 'pause' }
  | { readonly to: 'resume' }
  | { readonly to: 'weight'; readonly weight: number }

/** Takes the step at once; answers what is in force then, as text. Rejects with why it is refused (reject). */
export async function change(control: ControlLog, model: string, step: Step, by: ChangedBy): Promise<string> {
  await changeRollout(control, model, by, () => {
    switch (step.to) {
      case 'rollback':
        return { to: 'roll back', version: null, evidence: null }
      case 'weight':
        return { to: 'weigh', weight: step.weight }
      case 'pause':
      case 'resume':
        return step
    }
  })
  return standing(control, model)
}

/** What is in force and what waits, as text. */
export function standing(control: ControlLog, model: string): string {
  const { entry } = readRollout(control, model)
  return entry === null ? `${model}: nothing was ever promoted` : `${model}: ${describeRollout(entry)}`
}

function describeRollout({ active, proposed }: RolloutEntry): string {
  const waits = proposed === null ? '' : `; waiting: ${describePlan(proposed.plan)}`
  return `${active === null ? 'no plan is in force' : describePlan(active)}${waits}`
}

function describePlan({ epoch, production, candidate, shadow }: RolloutPlan): string {
  const percent = (share: number): string => `${(share * 100) / WHOLE}%`
  const parts = [`epoch ${epoch}: production ${production}`]
  if (candidate !== null) {
    const { version, weight, paused } = candidate
    parts.push(`candidate ${version} at ${percent(weight)}${paused ? ', paused' : ''}`)
  }
  if (shadow !== null) parts.push(`shadow ${shadow.version} at ${percent(shadow.share)}`)
  return parts.join(', ')
}
