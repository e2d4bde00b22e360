import type { ProfileEntry } from '../../schemas/control/profiles.ts'

/** What a part is told at the beginning of a round. */
export interface DriftRound {
  /** What the pipeline is compared with; null = nothing was accepted yet. */
  readonly profile: ProfileEntry | null
  /** The largest event time among the pipeline's predictions, epoch ms; null before the first. A window is closed when this is past its end by a pane. */
  readonly seenUntil: number | null
  /** Aborts when the process stops: finish the statement at hand and return. */
  readonly signal: AbortSignal
}

/**
 * A part of the watch over a pipeline. Rounds of all parts come one after the other, in the one process that watches; for a moment there may
 * be two such processes, so what a round does must be harmless when it is done twice. A round that rejects is logged and counted, and the
 * parts behind it still have theirs; it must not count on the round before having ended.
 */
export interface DriftPart {
  readonly name: string
  /** Resolves with true when there is more to do at once. */
  round(round: DriftRound): Promise<boolean>
  /** This process begins to watch, maybe after another one did: whatever was remembered may be out of date. */
  begin?(): void
  /** It watches no more: another process may. */
  end?(): void
}
