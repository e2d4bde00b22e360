/**
 * Configuration at run time as a log (topic `millrace.control`): every process reads it whole and keeps the latest value of
 * each subject. The log has a revision, the number of entries that took effect. An entry names the revision it is based
 * on; the first one on a base takes effect and every reader passes over the others, so writers need no lock. Entries are
 * chained by hashes: a reader passes over one that does not continue the chain.
 */
export interface ControlLog {
  /** Entries that took effect so far. */
  readonly revision: number
  /** Null when nothing was ever said about it. */
  latest(kind: ControlKind, name: string): ControlRecord | null
  /** By name. */
  all(kind: ControlKind): ReadonlyMap<string, ControlRecord>
  /**
   * Writes a change that was decided on what `latest` says of the subject, and resolves when it took effect. Based anew while
   * others write about other subjects; rejects with `control_conflict` (reject) when somebody changed this one meanwhile.
   * Rejects with `retry` when the log cannot be written: then it is unknown whether it took effect.
   */
  append(change: ControlChange): Promise<ControlRecord>
  /** Called for each entry that takes effect after the start, in order. Must not throw. Answers how to end it. */
  watch(listener: (record: ControlRecord) => void): () => void
}

export type ControlKind = 'model' | 'rollout' | 'pipeline' | 'tenant' | 'api-key' | 'profile' | 'erasure'

export interface ControlChange {
  readonly kind: ControlKind
  readonly name: string
  /** Revision of the subject's record that the change was decided on; null = there was none. */
  readonly basedOn: number | null
  /** The new state; JSON. */
  readonly value: unknown
  readonly actor: string
  readonly reason: string
}

export interface ControlRecord {
  readonly kind: ControlKind
  readonly name: string
  /** Revision of the log that this entry made. */
  readonly revision: number
  readonly value: unknown
  readonly actor: string
  readonly reason: string
  /** Epoch ms, by the writer's clock. */
  readonly at: number
  readonly hash: string
}
