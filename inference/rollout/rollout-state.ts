import type { GuardLimits, RolloutEntry, RolloutPlan } from '../../schemas/control/models.ts'

/*
 * A model's rollout, as its entries tell it. Each step is one entry:
 *
 *   proposed      a plan waits until every member has its versions loaded; the active one serves on
 *   activated     the proposed plan is the active one, and what was active is what a rollback returns to
 *   stalled       not every member was ready by the deadline: the proposal is gone, the active plan serves on
 *   rolled_back   a waiting proposal was withdrawn, else the active plan gave way to the previous one, or to itself without a
 *                 version that failed
 *   paused, resumed, weighted   another share for the candidate of the active plan; at once, as its versions are loaded
 *
 *   (nothing) → proposed → activated | stalled | rolled_back → proposed → …      activated → paused → resumed | weighted → …
 *
 * A step that the state does not allow is refused, with a reason for whoever asked.
 */

export type PlannedVersions = Omit<RolloutPlan, 'epoch'>

export type RolloutRequest =
  | { readonly to: 'propose'; readonly plan: PlannedVersions; readonly now: number; readonly deadline: number }
  | { readonly to: 'activate'; readonly epoch: number }
  | { readonly to: 'stall'; readonly epoch: number; readonly evidence: Evidence }
  /** `version` null: what came last. Otherwise that version of the active plan, wherever it is in it. */
  | { readonly to: 'roll back'; readonly version: string | null; readonly evidence: Evidence | null }
  | { readonly to: 'pause' }
  | { readonly to: 'resume' }
  | { readonly to: 'weigh'; readonly weight: number }

export type Evidence = Readonly<Record<string, unknown>>

export type Transition =
  | { readonly ok: true; readonly entry: RolloutEntry }
  | { readonly ok: false; readonly code: RefusedStep; readonly message: string }

export type RefusedStep =
  | 'rollout_pending'
  | 'not_proposed'
  | 'nothing_to_roll_back'
  | 'no_production'
  | 'no_candidate'
  | 'already_serving'
  | 'invalid_weight'

export const WHOLE = 10_000
/** A proposal that nobody decided on for so long past its deadline may be decided by anybody. */
export const OVERDUE_MS = 5_000

const NOTHING: RolloutEntry = {
  step: 'rolled_back',
  lastEpoch: 0,
  active: null,
  previous: null,
  proposed: null,
  evidence: null,
}

/** `current` null = nothing was ever said about the model. */
export function nextRollout(current: RolloutEntry | null, request: RolloutRequest): Transition {
  const state = current ?? NOTHING
  switch (request.to) {
    case 'propose':
      return propose(state, request)
    case 'activate':
      return activate(state, request.epoch)
    case 'stall':
      if (state.proposed?.plan.epoch !== request.epoch) return notProposed(request.epoch)
      return done({ ...state, step: 'stalled', proposed: null, evidence: request.evidence })
    case 'roll back':
      return rollBack(state, request.version, request.evidence)
    case 'pause':
      return ofCandidate(state, 'paused', (candidate) => ({ ...candidate, paused: true }))
    case 'resume':
      return ofCandidate(state, 'resumed', (candidate) => ({ ...candidate, paused: false }))
    case 'weigh': {
      const { weight } = request
      if (!isShare(weight)) return refused('invalid_weight', `a weight is 0 to ${WHOLE}, not ${weight}`)
      return ofCandidate(state, 'weighted', (candidate) => ({ ...candidate, weight }))
    }
  }
}

export type Role =
  | { readonly as: 'production' }
  | { readonly as: 'candidate'; readonly weight: number }
  | { readonly as: 'shadow'; readonly share: number }

/** The active plan with the version in that role; a version has one role. */
export function planWith(
  current: RolloutEntry | null,
  version: string,
  role: Role,
  guards: GuardLimits | null,
): { readonly ok: true; readonly plan: PlannedVersions } | (Transition & { readonly ok: false }) {
  const active = current?.active ?? null
  if (role.as === 'production') {
    const rest = active === null ? { candidate: null, shadow: null } : without(active, version)
    return { ok: true, plan: { production: version, candidate: rest.candidate, shadow: rest.shadow, guards } }
  }
  if (active === null) return refused('no_production', 'there is no production version yet: promote one first')
  if (active.production === version) return refused('already_serving', `version ${version} is production`)
  const share = role.as === 'candidate' ? role.weight : role.share
  if (!isShare(share)) return refused('invalid_weight', `a share is 0 to ${WHOLE}, not ${share}`)
  const { production, candidate, shadow } = without(active, version)
  return role.as === 'candidate'
    ? { ok: true, plan: { production, candidate: { version, weight: share, paused: false }, shadow, guards } }
    : { ok: true, plan: { production, candidate, shadow: { version, share }, guards } }
}

/** Every version that the plan names, production first. */
export function versionsOf({ production, candidate, shadow }: PlannedVersions): readonly string[] {
  return [production, candidate?.version, shadow?.version].filter((version) => version !== undefined)
}

function propose(
  state: RolloutEntry,
  { plan, now, deadline }: RolloutRequest & { readonly to: 'propose' },
): Transition {
  const { proposed } = state
  if (proposed !== null && now < proposed.deadline + OVERDUE_MS) {
    const message = `version ${versionsOf(proposed.plan).join(', ')} is on its way (epoch ${proposed.plan.epoch})`
    return refused('rollout_pending', `${message}: wait for it, or roll it back`)
  }
  const epoch = state.lastEpoch + 1
  return done({
    ...state,
    step: 'proposed',
    lastEpoch: epoch,
    proposed: { plan: { ...plan, epoch }, deadline },
    evidence: null,
  })
}

function activate(state: RolloutEntry, epoch: number): Transition {
  const plan = state.proposed?.plan
  if (plan?.epoch !== epoch) return notProposed(epoch)
  const previous = state.active === null ? null : without(state.active, plan.production)
  const isSame = isSameProduction(previous, plan) && previous?.candidate === null && previous.shadow === null
  const kept = isSame && plan.candidate === null && plan.shadow === null ? state.previous : previous
  return done({ ...state, step: 'activated', active: plan, previous: kept, proposed: null, evidence: null })
}

function isSameProduction(before: RolloutPlan | null, { production, sources }: RolloutPlan): boolean {
  return before?.production === production && before.sources?.[production] === sources?.[production]
}

function rollBack(state: RolloutEntry, version: string | null, evidence: Evidence | null): Transition {
  const { active, previous, proposed } = state
  if (version === null && proposed !== null) {
    const withdrawn = { withdrawn: proposed.plan.epoch, ...evidence }
    return done({ ...state, step: 'rolled_back', proposed: null, evidence: withdrawn })
  }
  const target = version === null ? previous : active === null ? null : withoutFailed(active, previous, version)
  if (target === null) {
    const what = version === null ? 'there is no plan to return to' : `there is nothing to serve in place of ${version}`
    return refused('nothing_to_roll_back', what)
  }
  const epoch = state.lastEpoch + 1
  const isBackAtPrevious = version === null || target.production !== active?.production
  const rest = isBackAtPrevious || previous?.production === target.production ? null : previous
  return done({
    step: 'rolled_back',
    lastEpoch: epoch,
    active: { ...target, epoch },
    previous: rest === null || version === null ? rest : without(rest, version),
    // it was decided on a plan that is no more
    proposed: null,
    evidence: proposed === null ? evidence : { withdrawn: proposed.plan.epoch, ...evidence },
  })
}

/** The active plan when the version is beside its production, else the previous one; null when it is all there is. */
function withoutFailed(active: RolloutPlan, previous: RolloutPlan | null, version: string): RolloutPlan | null {
  if (active.production !== version) return versionsOf(active).includes(version) ? without(active, version) : null
  return previous === null || previous.production === version ? null : without(previous, version)
}

/** The plan with the version in no role but production. */
function without(plan: RolloutPlan, version: string): RolloutPlan {
  return {
    ...plan,
    candidate: plan.candidate?.version === version ? null : plan.candidate,
    shadow: plan.shadow?.version === version ? null : plan.shadow,
  }
}

type Candidate = NonNullable<RolloutPlan['candidate']>

/** A change of the candidate's share, of the active plan and of a proposal that has the same candidate. */
function ofCandidate(
  state: RolloutEntry,
  step: 'paused' | 'resumed' | 'weighted',
  change: (candidate: Candidate) => Candidate,
): Transition {
  const { active, proposed } = state
  if (active === null || active.candidate === null) return refused('no_candidate', 'no candidate is served')
  const { version } = active.candidate
  const changed = (plan: RolloutPlan): RolloutPlan =>
    plan.candidate?.version === version ? { ...plan, candidate: change(plan.candidate) } : plan
  return done({
    ...state,
    step,
    active: changed(active),
    proposed: proposed === null ? null : { ...proposed, plan: changed(proposed.plan) },
    evidence: null,
  })
}

function isShare(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= WHOLE
}

function done(entry: RolloutEntry): Transition {
  return { ok: true, entry }
}

function refused(code: RefusedStep, message: string): Transition & { readonly ok: false } {
  return { ok: false, code, message }
}

function notProposed(epoch: number): Transition {
  return refused('not_proposed', `epoch ${epoch} is not proposed any more`)
}
