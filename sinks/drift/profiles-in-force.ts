import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { ProfileEntry } from '../../schemas/control/profiles.ts'

/** The accepted profile of the pipeline; null when there is none. Of two that say so, the one that was accepted last. */
export function acceptedProfile(control: Pick<ControlLog, 'all'>, pipeline: string): ProfileEntry | null {
  let accepted: ProfileEntry | null = null
  let revision = -1
  for (const record of control.all('profile').values()) {
    const entry = record.value as ProfileEntry
    if (entry.pipeline !== pipeline || entry.state !== 'accepted' || record.revision <= revision) continue
    accepted = entry
    revision = record.revision
  }
  return accepted
}
