import type { ControlLog, ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { ModelEntry } from '../../schemas/control/models.ts'
import { isSha256, NAME } from '../../schemas/pipeline/manifest.ts'

/** A version as the control log has it, and the revision of its record. */
export interface KnownVersion {
  readonly entry: ModelEntry
  readonly revision: number
  readonly actor: string
  readonly reason: string
  /** Epoch ms. */
  readonly at: number
}

const byVersion = new Intl.Collator('en', { numeric: true })

/**
 * Null when the record is no version that this version of the code understands. Of one that it is, names and digests may be
 * used as names of files.
 */
export function modelEntryOf({ name, value }: Pick<ControlRecord, 'name' | 'value'>): ModelEntry | null {
  if (!isObject(value)) return null
  const { model, version, manifest, digest, featureSet, profiles, state } = value
  const isEntry =
    isName(model) &&
    isName(version) &&
    name === `${model}/${version}` &&
    isSha256(manifest) &&
    isSha256(digest) &&
    typeof featureSet === 'string' &&
    Array.isArray(profiles) &&
    profiles.every(isProfile) &&
    (state === 'active' || state === 'retired')
  return isEntry ? (value as unknown as ModelEntry) : null
}

type Fields = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && NAME.test(value)
}

function isProfile(profile: unknown): boolean {
  if (!isObject(profile)) return false
  const { provider, fixedUs, rowUs, tail } = profile
  return typeof provider === 'string' && [fixedUs, rowUs, tail].every(Number.isFinite)
}

/** Versions of one model, or of all, in order; what is none is passed over. */
export function knownVersions(control: ControlLog, model: string | null = null): readonly KnownVersion[] {
  const known: KnownVersion[] = []
  for (const record of control.all('model').values()) {
    const entry = modelEntryOf(record)
    if (entry === null || (model !== null && entry.model !== model)) continue
    const { revision, actor, reason, at } = record
    known.push({ entry, revision, actor, reason, at })
  }
  return known.sort((a, b) => byVersion.compare(nameOf(a.entry), nameOf(b.entry)))
}

export function nameOf({ model, version }: Pick<ModelEntry, 'model' | 'version'>): string {
  return `${model}/${version}`
}

/** A version by its name, `<model>/<version>`. Throws `unknown_version` (crash). */
export function knownVersion(control: ControlLog, name: string): KnownVersion {
  const found = knownVersions(control).find(({ entry }) => nameOf(entry) === name)
  if (found !== undefined) return found
  const names = knownVersions(control).map(({ entry }) => nameOf(entry))
  throw fatal('unknown_version', `there is no ${name}; there are ${names.join(', ') || 'none'}: push one first`)
}
