import type { Clock } from '../../infra/runtime/clock.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fateOf } from '../../infra/runtime/errors.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'
import { type ChangedBy, changeRollout } from '../rollout/change-rollout.ts'
import { readRollout, rolloutOf } from '../rollout/read-rollout.ts'
import { OVERDUE_MS } from '../rollout/rollout-state.ts'

export interface Verdict {
  readonly end: 'activated' | 'stalled' | 'rolled_back'
  /** As the entry says; null = it says nothing. */
  readonly evidence: RolloutEntry['evidence']
}

const LOOK_MS = 250

/**
 * Waits until the proposal of that epoch is decided. One that nobody decided on (no process serves the model) is declared
 * stalled when it is overdue.
 */
export async function waitForVerdict(
  control: ControlLog,
  model: string,
  epoch: number,
  clock: Clock,
  by: ChangedBy,
): Promise<Verdict> {
  let verdict = verdictOf(readRollout(control, model).entry, epoch)
  // what is decided may be followed by more before the next look
  const unwatch = control.watch((record) => {
    if (record.kind === 'rollout' && record.name === model) verdict ??= verdictOf(rolloutOf(record), epoch)
  })
  try {
    while (verdict === null) {
      const { deadline } = readRollout(control, model).entry?.proposed ?? { deadline: Number.POSITIVE_INFINITY }
      if (clock.now() > deadline + OVERDUE_MS) await giveUp(control, model, epoch, by)
      await clock.sleep(LOOK_MS)
    }
    return verdict
  } finally {
    unwatch()
  }
}

async function giveUp(control: ControlLog, model: string, epoch: number, by: ChangedBy): Promise<void> {
  const evidence = { members: 0, notReady: [], undecided: true }
  try {
    const reason = 'nobody decided on it by the deadline'
    await changeRollout(control, model, { ...by, reason }, () => ({ to: 'stall', epoch, evidence }))
  } catch (error) {
    // decided just now after all, or brokers are away
    if (fateOf(error) === 'crash') throw error
  }
}

/** Null while it waits. */
function verdictOf(entry: RolloutEntry | null, epoch: number): Verdict | null {
  if (entry === null || entry.proposed?.plan.epoch === epoch) return null
  if (entry.active?.epoch === epoch) return { end: 'activated', evidence: null }
  return { end: entry.step === 'stalled' ? 'stalled' : 'rolled_back', evidence: entry.evidence }
}
