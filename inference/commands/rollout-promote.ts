import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal, rejected } from '../../infra/runtime/errors.ts'
import {
  DEFAULT_GUARDS,
  type RolloutEntry,
  type RolloutPlan,
  type VersionOrigin,
} from '../../schemas/control/models.ts'
import { knownVersions, modelEntryOf } from '../models/model-entries.ts'
import { type ChangedBy, changeRollout } from '../rollout/change-rollout.ts'
import { type PlannedVersions, planWith, type Role, versionsOf } from '../rollout/rollout-state.ts'

export interface Promotion extends ChangedBy {
  readonly model: string
  readonly version: string
  readonly role: Role
  /** How long every member has for loading it, ms. */
  readonly deadlineMs: number
  readonly guarded: boolean
  /** It is a folder in the pipeline's models, not in the registry: only the members can tell whether it is there. */
  readonly bundled: boolean
}

/** Proposes the version in its role; answers the epoch. Rejects with `unknown_version` (crash) or why the step is refused (reject). */
export async function promote(control: ControlLog, promotion: Promotion, now: number): Promise<number> {
  const { model, version, role, deadlineMs, guarded, bundled, actor, reason } = promotion
  if (!bundled) requireActive(control, model, version)
  const proposed: RolloutEntry = await changeRollout(control, model, { actor, reason }, (current) => {
    const planned = planWith(current, version, role, guarded ? DEFAULT_GUARDS : null)
    if (!planned.ok) throw rejected(planned.code, `${model}: ${planned.message}`)
    const known = { ...current?.active?.sources, [version]: bundled ? 'bundled' : 'registered' } as const
    const sources = sourcesOf(control, model, planned.plan, known)
    return { to: 'propose', plan: { ...planned.plan, sources }, now, deadline: now + deadlineMs }
  })
  return proposed.lastEpoch
}

/** Of each version of the plan, where it is; of one that is not known, where it is served from now. */
function sourcesOf(
  control: ControlLog,
  model: string,
  plan: PlannedVersions,
  known: NonNullable<RolloutPlan['sources']>,
): Readonly<Record<string, VersionOrigin>> {
  const isRegistered = (version: string): boolean =>
    knownVersions(control, model).some(({ entry }) => entry.version === version && entry.state === 'active')
  return Object.fromEntries(
    versionsOf(plan).map((version) => [version, known[version] ?? (isRegistered(version) ? 'registered' : 'bundled')]),
  )
}

function requireActive(control: ControlLog, model: string, version: string): void {
  const name = `${model}/${version}`
  const record = control.latest('model', name)
  const entry = record === null ? null : modelEntryOf(record)
  if (entry === null) {
    throw fatal(
      'unknown_version',
      `${name} is not registered: push it first, or say --bundled when it lies beside the pipeline`,
    )
  }
  if (entry.state !== 'active') throw fatal('unknown_version', `${name} is retired`)
}
