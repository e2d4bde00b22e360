import type { ControlLog } from '../../../infra/runtime/control/control-log.ts'
import { fatal, MillraceError } from '../../../infra/runtime/errors.ts'
import type { ProfileEntry, ReferenceProfile } from '../../../schemas/control/profiles.ts'
import { digestOfProfile, type KnownProfile, knownProfile, knownProfiles, profileName } from './profile-entries.ts'

export interface ChangedBy {
  readonly actor: string
  readonly reason: string
}

/**
 * Proposes the content under this name (null: the whole number above all that there are); a profile of the pipeline that has it already
 * is answered instead, and nothing changes. Rejects with `profile_taken` (crash) when the name has other content, and with
 * `control_conflict` (reject).
 */
export async function proposeProfile(
  control: ControlLog,
  {
    pipeline,
    profile,
    content,
  }: { readonly pipeline: string; readonly profile: string | null; readonly content: ReferenceProfile },
  by: ChangedBy,
): Promise<{ readonly entry: ProfileEntry; readonly isNew: boolean }> {
  const digest = digestOfProfile(content)
  const known = knownProfiles(control, pipeline).map(({ entry }) => entry)
  const same = known.find((entry) => entry.digest === digest && (profile === null || entry.profile === profile))
  if (same !== undefined) return { entry: same, isNew: false }
  const chosen = profile ?? nextName(control, pipeline)
  const name = profileName({ pipeline, profile: chosen })
  if (control.latest('profile', name) !== null) {
    throw fatal('profile_taken', `${name} is there with other content, which never changes: choose another name`)
  }
  const entry: ProfileEntry = { pipeline, profile: chosen, state: 'proposed', digest, content }
  await control.append({ kind: 'profile', name, basedOn: null, value: entry, ...by })
  return { entry, isNew: true }
}

/** Above every number that there is, also of a record that cannot be understood. */
function nextName(control: ControlLog, pipeline: string): string {
  const prefix = `${pipeline}/`
  const numbers = [...control.all('profile').keys()]
    .filter((name) => name.startsWith(prefix))
    .map((name) => Number.parseInt(name.slice(prefix.length), 10) || 0)
  return String(Math.max(0, ...numbers) + 1)
}

/**
 * Accepts a profile by its name, `<pipeline>/<profile>`, also one that was superseded, and supersedes what was accepted before: answers these. Null when it is the accepted one
 * already. Rejects with `unknown_profile` and `profile_altered` (crash), and with `control_conflict` (reject) when somebody else changed it
 * meanwhile.
 */
export async function acceptProfile(
  control: ControlLog,
  name: string,
  by: ChangedBy,
): Promise<readonly string[] | null> {
  const known = knownProfile(control, name)
  const { pipeline, profile } = known.entry
  const isAccepted = known.entry.state === 'accepted'
  const revision = isAccepted ? known.revision : (await setState(control, known, 'accepted', by)).revision
  // one that was accepted after this one is what counts
  const before = knownProfiles(control, pipeline).filter(
    ({ entry, revision: at }) => entry.state === 'accepted' && at < revision,
  )
  for (const other of before) {
    await supersede(control, other, { ...by, reason: by.reason === '' ? `superseded by ${profile}` : by.reason })
  }
  return isAccepted && before.length === 0 ? null : before.map(({ entry }) => entry.profile)
}

async function supersede(control: ControlLog, known: KnownProfile, by: ChangedBy): Promise<void> {
  try {
    await setState(control, known, 'superseded', by)
  } catch (error) {
    // whoever accepted another one at the same time has superseded it too, or accepted it anew
    if (!(error instanceof MillraceError) || error.code !== 'control_conflict') throw error
  }
}

function setState(
  control: ControlLog,
  { entry, revision }: KnownProfile,
  state: ProfileEntry['state'],
  by: ChangedBy,
): ReturnType<ControlLog['append']> {
  return control.append({
    kind: 'profile',
    name: profileName(entry),
    basedOn: revision,
    value: { ...entry, state } satisfies ProfileEntry,
    ...by,
  })
}
