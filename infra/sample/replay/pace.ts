/** How many events may go, and when the next: a token bucket on a monotonic clock. */
export interface Pace {
  /** Takes as many events as may go now, at most `most`. */
  take(now: number, most: number): number
  /** How long until the next event may go, ms. */
  waitMs(now: number): number
}

/** A replay that was held up catches up with at most this much of its schedule at once. */
const CATCH_UP_MS = 1_000

/** `perSecond`: events, or null for as fast as they are taken. */
export function createPace(perSecond: number | null, startedAt: number): Pace {
  if (perSecond === null) return { take: (_now, most) => most, waitMs: () => 0 }
  const msPerEvent = 1_000 / perSecond
  /** When the next event is due. */
  let due = startedAt
  return {
    take(now, most) {
      due = Math.max(due, now - Math.max(CATCH_UP_MS, msPerEvent))
      const count = Math.max(0, Math.min(most, Math.floor((now - due) / msPerEvent) + 1))
      due += count * msPerEvent
      return count
    },
    waitMs: (now) => Math.max(0, due - now),
  }
}
