/** What an overload shows in, as it is now. */
export interface Load {
  /** How long the oldest event that is not acknowledged has waited, ms; 0 = none waits. */
  readonly backlogMs: number
  /** The fullest of what may be held (memory, bodies, events that are not acknowledged), as a part of its limit. */
  readonly full: number
}

export type Overload = 'loop' | 'backlog' | 'room'

/** Whether there is room for one more request. Times are monotonic ms. */
export interface Admission {
  /** Called every `ADMISSION_INTERVAL_MS` or later. */
  observe(load: Load, nowMs: number): void
  /** Begins a turn of the event loop: what came since the turn before is asked about in it. */
  turn(nowMs: number): void
  /** Null = it gets in, and is counted on. */
  refuse(nowMs: number): Overload | null
}

export interface AdmissionRules {
  /** How much of a turn of the event loop is given to requests: what comes at one time waits no longer than two turns. */
  readonly turnMs: number
  /** How long a request should wait at most for the acknowledgement of what was let in before it. */
  readonly backlogMs: number
  /** 0 ≤ x < 1. */
  readonly random: () => number
}

export const ADMISSION_INTERVAL_MS = 20

const FULL_BEGINS = 0.8
/** Of each new measurement in the rate. */
const SMOOTHING = 0.2
/** So few at one time are no overload, however long they take: a process that has just started takes its time for the first ones. */
const LEAST_IN_A_TURN = 8
/** Requests let in are remembered for as long as a backlog may be old. */
const REMEMBERED_MS = 10_000

/**
 * Three rules; each turns away what is too much and nothing more, so that the capacity is used whatever comes:
 *
 *   loop     Requests that came while the event loop was busy are there at once when it turns. Those that it reaches within `turnMs` get
 *            in, and the first few; the others are answered that it is too much: a turn, and so the wait of the next requests, stays short.
 *   backlog  What waits for an acknowledgement is what was let in since its oldest part was, and how far that oldest part has moved tells
 *            how many are done in a time: both follow from the requests let in and the age of the oldest. A request gets in
 *            while what is before it takes no longer than `backlogMs`. The age alone would come too late: when it shows, too many are in.
 *   room     Above 80 % of what may be held a growing part is turned away, at 100 % everything.
 */
export function createAdmission(rules: AdmissionRules): Admission {
  let turnBegan = Number.NEGATIVE_INFINITY
  let inTurn = 0
  let byRoom = 0
  /** Requests let in, by ms. */
  let admitted: { readonly at: number; count: number }[] = []
  let oldestBefore: number | null = null
  let observedAt = 0
  /** Done per ms while there is a backlog; null = not known. */
  let rate: number | null = null
  let left = Number.POSITIVE_INFINITY

  function countSince(from: number): number {
    let count = 0
    for (let index = admitted.length - 1; index >= 0; index--) {
      const slot = admitted[index]
      if (slot === undefined || slot.at < from) break
      count += slot.count
    }
    return count
  }

  function observeBacklog(ageMs: number, nowMs: number): void {
    const oldest = ageMs > 0 ? Math.floor(nowMs - ageMs) : null
    if (oldest !== null && oldestBefore !== null) {
      const done = Math.max(0, countSince(oldestBefore) - countSince(oldest))
      const measured = done / Math.max(1, nowMs - observedAt)
      rate = rate === null ? measured : rate + SMOOTHING * (measured - rate)
    }
    oldestBefore = oldest
    observedAt = nowMs
    if ((admitted[0]?.at ?? nowMs) < nowMs - 2 * REMEMBERED_MS) {
      admitted = admitted.filter(({ at }) => at >= nowMs - REMEMBERED_MS)
    }
    if (oldest === null || ageMs <= ADMISSION_INTERVAL_MS || rate === null) left = Number.POSITIVE_INFINITY
    else left = rate * (rules.backlogMs + ADMISSION_INTERVAL_MS) - countSince(oldest)
  }

  return {
    observe({ backlogMs, full }, nowMs) {
      byRoom = Math.min(1, Math.max(0, (full - FULL_BEGINS) / (1 - FULL_BEGINS)))
      observeBacklog(backlogMs, nowMs)
    },
    turn(nowMs) {
      turnBegan = nowMs
      inTurn = 0
    },
    refuse(nowMs) {
      if (inTurn >= LEAST_IN_A_TURN && nowMs - turnBegan > rules.turnMs) return 'loop'
      if (left <= 0) return 'backlog'
      if (byRoom > 0 && rules.random() < byRoom) return 'room'
      left--
      inTurn++
      const at = Math.floor(nowMs)
      const last = admitted.at(-1)
      if (last?.at === at) last.count++
      else admitted.push({ at, count: 1 })
      return null
    },
  }
}
