import { createHash } from 'node:crypto'
import type { ControlLog, ControlRecord } from '../../../infra/runtime/control/control-log.ts'
import { fatal } from '../../../infra/runtime/errors.ts'
import type { ProfileEntry, ReferenceProfile } from '../../../schemas/control/profiles.ts'

/** A profile as the control log has it, and the revision of its record. */
export interface KnownProfile {
  readonly entry: ProfileEntry
  readonly revision: number
  readonly actor: string
  readonly reason: string
  /** When it came to be what it is now, epoch ms. */
  readonly at: number
}

/** SHA-256, hex, of the content as JSON whose objects have their members in order of their names. */
export function digestOfProfile(content: ReferenceProfile): string {
  return createHash('sha256').update(canonicalJson(content)).digest('hex')
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  )
}

/** What a record about profiles says. `altered`: its content is not the one that its digest names. `foreign`: none that is understood here. */
function profileEntryOf({ name, value }: Pick<ControlRecord, 'name' | 'value'>): ProfileEntry | 'altered' | 'foreign' {
  const entry = value as ProfileEntry | null
  const isEntry =
    typeof entry === 'object' &&
    entry !== null &&
    name === profileName(entry) &&
    ['proposed', 'accepted', 'superseded'].includes(entry.state) &&
    typeof entry.digest === 'string' &&
    Array.isArray(entry.content?.subjects)
  if (!isEntry) return 'foreign'
  return isUnaltered(entry) ? entry : 'altered'
}

/** Values of the log do not change: each is looked at once. */
const checked = new WeakMap<ProfileEntry, boolean>()

function isUnaltered(entry: ProfileEntry): boolean {
  const known = checked.get(entry) ?? digestOfProfile(entry.content) === entry.digest
  checked.set(entry, known)
  return known
}

export function profileName({ pipeline, profile }: Pick<ProfileEntry, 'pipeline' | 'profile'>): string {
  return `${pipeline}/${profile}`
}

/** Profiles of a pipeline, or of all (null), those that changed last at the end; what is none, or was altered, is passed over. */
export function knownProfiles(control: Pick<ControlLog, 'all'>, pipeline: string | null): readonly KnownProfile[] {
  const known: KnownProfile[] = []
  for (const record of control.all('profile').values()) {
    if (pipeline !== null && !record.name.startsWith(`${pipeline}/`)) continue
    const entry = profileEntryOf(record)
    if (typeof entry === 'string') continue
    const { revision, actor, reason, at } = record
    known.push({ entry, revision, actor, reason, at })
  }
  return known.sort((a, b) => a.revision - b.revision)
}

/**
 * What the pipeline is compared with; null when nothing was accepted. Of two, which a crash between an acceptance and the superseding of
 * the one before may leave, the last accepted.
 */
export function acceptedProfile(control: Pick<ControlLog, 'all'>, pipeline: string): KnownProfile | null {
  return knownProfiles(control, pipeline).findLast(({ entry }) => entry.state === 'accepted') ?? null
}

/** A profile by its name, `<pipeline>/<profile>`. Throws `unknown_profile` and `profile_altered` (crash). */
export function knownProfile(control: ControlLog, name: string): KnownProfile {
  const record = control.latest('profile', name)
  const entry = record === null ? 'foreign' : profileEntryOf(record)
  if (entry === 'altered') {
    throw fatal('profile_altered', `the content of profile ${name} is not the one that its digest names`)
  }
  if (record !== null && entry !== 'foreign') {
    const { revision, actor, reason, at } = record
    return { entry, revision, actor, reason, at }
  }
  const names = knownProfiles(control, null).map((known) => profileName(known.entry))
  throw fatal(
    'unknown_profile',
    `there is no profile ${name}; there are ${names.join(', ') || 'none'}: create one first`,
  )
}
