import type { ControlEntry } from '../../../schemas/generated/records.ts'
import type { ControlKind, ControlRecord } from './control-log.ts'
import { entryHash, NO_ENTRY_HASH } from './seal-entry.ts'

/**
 * Why an entry has no effect: `late` = another entry took effect on its base, or before it; `ahead` = it names a revision
 * that the log has not reached, which no writer can have read; `unchained` = it does not continue the last entry that took effect;
 * `broken` = it is not what its hash says, or its value is not JSON.
 */
export type PassedOver = 'late' | 'ahead' | 'unchained' | 'broken'

export type Applied =
  | { readonly ok: true; readonly record: ControlRecord }
  | { readonly ok: false; readonly why: PassedOver }

/** What the entries say so far. Every reader that is given the same entries in the same order says the same. */
export interface ControlState {
  readonly revision: number
  /** Of the last entry that took effect. */
  readonly hash: string
  latest(kind: string, name: string): ControlRecord | null
  all(kind: string): ReadonlyMap<string, ControlRecord>
  /** The next entry of the log. */
  apply(entry: ControlEntry): Applied
}

const NONE: ReadonlyMap<string, ControlRecord> = new Map()

export function createControlState(): ControlState {
  const kinds = new Map<string, Map<string, ControlRecord>>()
  let revision = 0
  let hash = NO_ENTRY_HASH

  function problem(entry: ControlEntry): PassedOver | null {
    if (entryHash(entry) !== entry.hash) return 'broken'
    if (entry.base_revision !== revision) return entry.base_revision < revision ? 'late' : 'ahead'
    return entry.previous_hash === hash ? null : 'unchained'
  }

  return {
    get revision() {
      return revision
    },
    get hash() {
      return hash
    },
    latest: (kind, name) => kinds.get(kind)?.get(name) ?? null,
    all: (kind) => kinds.get(kind) ?? NONE,
    apply(entry) {
      const why = problem(entry)
      if (why !== null) return { ok: false, why }
      const value = parsed(entry.value)
      if (value === undefined) return { ok: false, why: 'broken' }
      revision += 1
      hash = entry.hash
      const { kind, name, actor, reason, at } = entry
      const record: ControlRecord = { kind: kind as ControlKind, name, revision, value, actor, reason, at, hash }
      const subjects = kinds.get(kind) ?? new Map<string, ControlRecord>()
      kinds.set(kind, subjects.set(name, record))
      return { ok: true, record }
    },
  }
}

/** Undefined when it is not JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
