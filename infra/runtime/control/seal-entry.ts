import { createHash } from 'node:crypto'
import type { ControlEntry } from '../../../schemas/generated/records.ts'

/*
 * The hash of an entry: SHA-256, in hex, over the UTF-8 of a JSON array without spaces, as JSON.stringify writes it:
 *
 *   ["millrace.control/1",kind,name,base_revision,value,actor,reason,at,previous_hash]
 *
 * `value` is the text in the entry, not what it says. `previous_hash` is that of the last entry that took effect before
 * this one, empty for the first.
 */
const LAYOUT = 'millrace.control/1'

export const NO_ENTRY_HASH = ''

export function entryHash(entry: Omit<ControlEntry, 'hash'>): string {
  const { kind, name, base_revision, value, actor, reason, at, previous_hash } = entry
  const text = JSON.stringify([LAYOUT, kind, name, base_revision, value, actor, reason, at, previous_hash])
  return createHash('sha256').update(text).digest('hex')
}

/** The entry with its hash. Texts become what they are once written: half of a surrogate pair cannot be. */
export function sealEntry(entry: Omit<ControlEntry, 'hash'>): ControlEntry {
  const [kind, name, value, actor, reason] = [entry.kind, entry.name, entry.value, entry.actor, entry.reason].map(
    (text) => text.toWellFormed(),
  ) as [string, string, string, string, string]
  const written = { ...entry, kind, name, value, actor, reason }
  return { ...written, hash: entryHash(written) }
}
