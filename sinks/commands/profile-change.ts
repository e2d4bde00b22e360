import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { acceptProfile, type ChangedBy } from '../drift/profiles/change-profiles.ts'
import { type KnownProfile, knownProfile, knownProfiles } from '../drift/profiles/profile-entries.ts'
import { countLabels } from '../drift/profiles/store-profile.ts'

/** Accepts `<pipeline>/<profile>`; answers the profiles that it superseded, null when it was accepted before. Rejects as `acceptProfile`. */
export function accept(control: ControlLog, name: string, by: ChangedBy): Promise<readonly string[] | null> {
  return acceptProfile(control, name, by)
}

/** Of one pipeline, or of all (null). */
export function listProfiles(control: ControlLog, pipeline: string | null): readonly KnownProfile[] {
  return knownProfiles(control, pipeline)
}

/** `<pipeline>/<profile>` whole; `labels`: of each subject, what its counts count. Throws as `knownProfile`. */
export function showProfile(
  control: ControlLog,
  name: string,
): KnownProfile & { readonly labels: readonly (readonly string[])[] } {
  const known = knownProfile(control, name)
  return { ...known, labels: known.entry.content.subjects.map(countLabels) }
}
