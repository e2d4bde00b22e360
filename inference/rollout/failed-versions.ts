import { describeError } from '../../infra/runtime/errors.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'
import type { Violation } from './guards.ts'
import { nextRollout, versionsOf } from './rollout-state.ts'

/** Versions that fail whatever they are given, until the log says that they are out. */
export interface FailedVersions {
  /**
   * True = the plan in force can do without the version, or does already: what takes its place is asked the next time. It is taken
   * out soon then. False = it is all there is.
   */
  add(version: string, error: Error): boolean
  /** What has to be taken out now; each is answered once, until it fails again. */
  take(): readonly Violation[]
}

export interface FailedVersionsDeps {
  /** What the log says. */
  rollout(): RolloutEntry | null
  /** Something is to be taken. */
  onFailed(): void
}

export function createFailedVersions({ rollout, onFailed }: FailedVersionsDeps): FailedVersions {
  const failed = new Map<string, Violation>()

  const isNamed = (version: string): boolean => {
    const active = rollout()?.active ?? null
    return active !== null && versionsOf(active).includes(version)
  }

  return {
    add(version, error) {
      const entry = rollout()
      if (entry === null || entry.active === null) return false
      // the log has moved on, and this process is about to
      if (!isNamed(version)) return true
      const evidence = { version, guard: 'model_failed', ...describeError(error) }
      if (!nextRollout(entry, { to: 'roll back', version, evidence }).ok) return false
      failed.set(version, { version, evidence })
      onFailed()
      return true
    },
    take() {
      const taken = [...failed.values()].filter(({ version }) => isNamed(version))
      failed.clear()
      return taken
    },
  }
}
