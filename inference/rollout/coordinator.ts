import type { Clock } from '../../infra/runtime/clock.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { describeError, fateOf } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'
import { changeRollout } from './change-rollout.ts'
import { readRollout } from './read-rollout.ts'
import type { RolloutRequest } from './rollout-state.ts'

export interface CoordinatorDeps {
  readonly model: string
  readonly control: ControlLog
  /** The processes that serve the model now, of every pipeline that uses it, each with its group. */
  members(): Promise<ReadonlyMap<string, string>>
  /** Highest epoch that each process has reported, of those that have reported since the proposal was first looked at. */
  readyEpochs(): Promise<ReadonlyMap<string, number>>
  /**
   * Of a process that joins the group once the active plan is loaded here, and cannot load it: the epoch that it has loaded. Null =
   * it has joined, or is about to.
   */
  waiting(): number | null
  readonly clock: Clock
  readonly logger: Logger
  /** Names this process in the log. */
  readonly instance: string
  /** The group that it is in, or joins. */
  readonly group: string
}

/**
 * Decides on the proposal that waits, if one does. Any process may, of any pipeline, several may at once: all ask the same members,
 * and the log arbitrates. Rejects only with what is not understood; what another look may find otherwise is left to it.
 *
 * One that waits for an active plan decides on its own vote while there is no member at all: when nobody can load that plan, nobody
 * ever joins, and only another plan helps.
 */
export function createCoordinator(deps: CoordinatorDeps): () => Promise<void> {
  const { model, control, clock, logger, instance, group } = deps
  return async () => {
    const { entry } = readRollout(control, model)
    const proposed = entry?.proposed ?? null
    if (proposed === null) return
    try {
      const [joined, own] = [await deps.members(), deps.waiting()]
      if (own !== null && joined.size > 0) return
      const members = own === null ? joined : new Map([[instance, group]])
      const ready = own === null ? await deps.readyEpochs() : new Map([[instance, own]])
      const request = judgeProposal(proposed, members, ready, clock.now())
      if (request === null) return
      const reason = request.to === 'activate' ? `${everyone(members)} are ready` : 'not ready by the deadline'
      await changeRollout(control, model, { actor: instance, reason }, () => request)
      logger.info({ model, epoch: proposed.plan.epoch, to: request.to, members: members.size }, 'rollout decided')
    } catch (error) {
      // it was decided by another process, or brokers are away
      if (fateOf(error) === 'crash') throw error
      logger.debug(describeError(error), 'the proposal was not decided')
    }
  }
}

function everyone(members: ReadonlyMap<string, string>): string {
  const groups = new Set(members.values()).size
  return groups > 1 ? `all ${members.size} members of ${groups} groups` : `all ${members.size} members`
}

/** Null = it goes on waiting. Where there is no member nothing is decided before the deadline. */
export function judgeProposal(
  { plan, deadline }: NonNullable<RolloutEntry['proposed']>,
  members: ReadonlyMap<string, string>,
  readyEpochs: ReadonlyMap<string, number>,
  now: number,
): (RolloutRequest & { readonly to: 'activate' | 'stall' }) | null {
  const { epoch } = plan
  const late = [...members].filter(([member]) => (readyEpochs.get(member) ?? -1) < epoch)
  if (members.size > 0 && late.length === 0) return { to: 'activate', epoch }
  if (now < deadline) return null
  const notReady = late.map(([member]) => member)
  const groups = [...new Set(late.map(([, group]) => group))]
  return { to: 'stall', epoch, evidence: { members: members.size, notReady, groups } }
}
