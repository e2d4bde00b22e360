import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { ModelEntry } from '../../schemas/control/models.ts'

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

/** Versions of one model, or of all, in order. */
export function knownVersions(control: ControlLog, model: string | null = null): readonly KnownVersion[] {
  return [...control.all('model').values()]
    .map(({ value, revision, actor, reason, at }) => ({ entry: value as ModelEntry, revision, actor, reason, at }))
    .filter(({ entry }) => model === null || entry.model === model)
    .sort((a, b) => byVersion.compare(nameOf(a.entry), nameOf(b.entry)))
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
