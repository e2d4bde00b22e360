import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import type { ProfileEntry } from '../../schemas/control/profiles.ts'
import type { DriftPart } from './drift-part.ts'

export interface WatchDeps {
  readonly parts: readonly DriftPart[]
  readonly clock: Clock
  readonly intervalMs: number
  readonly signal: AbortSignal
  /** True in the one process that watches. */
  isActive(): boolean
  profile(): ProfileEntry | null
  /** See `DriftRound`; may reject. */
  seenUntil(): Promise<number | null>
  readonly instruments: {
    active(is: boolean): void
    round(part: string, ms: number): void
    failed(part: string, error: { readonly code: string; readonly message: string }): void
  }
}

/** A part may go on at once for so long before the others have their turn. */
const TURN_MS = 10_000

/** Rounds until the signal aborts. Never rejects: what a part does not understand is said, and tried again. */
export async function watch(deps: WatchDeps): Promise<void> {
  const { parts, clock, signal, instruments } = deps
  let wasActive = false
  let again = false

  async function turn(part: DriftPart, seenUntil: number | null): Promise<void> {
    const began = clock.monotonic()
    try {
      for (;;) {
        const more = await part.round({ profile: deps.profile(), seenUntil, signal })
        if (!more || signal.aborted) break
        if (clock.monotonic() - began >= TURN_MS) {
          again = true
          break
        }
      }
      instruments.round(part.name, clock.monotonic() - began)
    } catch (error) {
      instruments.failed(part.name, describeError(error))
    }
  }

  while (!signal.aborted) {
    const isActive = deps.isActive()
    if (isActive !== wasActive) instruments.active(isActive)
    if (isActive && !wasActive) for (const part of parts) part.begin?.()
    if (!isActive && wasActive) for (const part of parts) part.end?.()
    wasActive = isActive
    again = false
    if (isActive) {
      try {
        const seenUntil = await deps.seenUntil()
        for (const part of parts) if (!signal.aborted) await turn(part, seenUntil)
      } catch (error) {
        instruments.failed('events', describeError(error))
      }
    }
    await clock.sleep(again ? 0 : deps.intervalMs, signal)
  }
}
