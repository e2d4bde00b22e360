import type { CostFit } from './cost-fit.ts'

/** How long a batch that could be run waits for more rows, so that fewer runs are made: it saves CPU, never throughput. */
export interface LingerRule {
  /** ms; 0 = run at once. */
  ms(now: number): number
  /** What `ms` answered last. */
  readonly current: number
  arrived(rows: number): void
  /** A batch of so many rows waits. */
  waits(rows: number): void
  /** A batch of so many rows was run. */
  ran(rows: number, ms: number): void
}

/** Arrivals are counted over this, ms, and a decision stands as long. */
const WINDOW_MS = 100
const BUSY = 0.6
/** A wait pays when batches at least double by it; this is looked at after so many waits. */
const WORTH = 2
const WAITS = 16
const PAUSE_MS = 1_000
const LONGEST_PAUSE_MS = 60_000

/**
 * Waits only where, without a wait, the thread would be busy for more than 60 % and the mean batch be below n90 / 2. Both are
 * computed from what arrives, r rows a ms in works of w rows, and not from what is run, which the wait itself changes:
 *
 *   mean batch n = max(w, r·a / (1 − r·b))   as many arrive during a run as the next one has: n = r·(a + b·n)
 *   busy       u = min(1, r·L(n) / n)        and what this thread does besides; the busier thread, where runs have another
 *
 * Whoever sends its next row only when the last one is answered sends none during a wait. Waits that do not double their batches
 * are given up, for 1 s at first, then for twice as long each time.
 */
export function createLingerRule(options: {
  readonly fit: CostFit
  readonly maxMs: number
  /** Whether runs are on this thread. */
  readonly inline: boolean
  readonly activeMs?: (() => number) | undefined
}): LingerRule {
  const { fit, maxMs, inline, activeMs } = options
  let current = 0
  let windowAt = Number.NEGATIVE_INFINITY
  let rows = 0
  let works = 0
  let runMs = 0
  let activeAt = 0
  let pausedUntil = Number.NEGATIVE_INFINITY
  let pauseMs = PAUSE_MS
  /** Rows with which the batch that waits began to; 0 = none waits. */
  let waiting = 0
  let waits = 0
  let before = 0
  let after = 0

  function choose(elapsed: number): number {
    const rate = rows / elapsed
    const room = 1 - rate * fit.rowMs
    const greedy = room > 0 ? (rate * fit.fixedMs) / room : Number.POSITIVE_INFINITY
    const batch = Math.max(works === 0 ? 1 : rows / works, greedy)
    const active = activeMs?.() ?? 0
    const besides = Math.max(0, active - activeAt - (inline ? runMs : 0)) / elapsed
    activeAt = active
    const runs = Number.isFinite(batch) ? Math.min(1, (rate * fit.predictMs(batch)) / batch) : 1
    const busy = inline ? besides + runs : Math.max(besides, runs)
    return busy > BUSY && batch < (4.5 * fit.fixedMs) / fit.rowMs ? maxMs : 0
  }

  function review(now: number): void {
    if (waits < WAITS) return
    if (after >= WORTH * before) pauseMs = PAUSE_MS
    else {
      pausedUntil = now + pauseMs
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)
    }
    waits = 0
    before = 0
    after = 0
  }

  return {
    get current() {
      return current
    },
    ms(now) {
      if (maxMs === 0) return 0
      const elapsed = now - windowAt
      if (elapsed >= WINDOW_MS) {
        if (elapsed !== Number.POSITIVE_INFINITY) current = choose(elapsed)
        windowAt = now
        rows = 0
        works = 0
        runMs = 0
      }
      review(now)
      if (now < pausedUntil) current = 0
      return current
    },
    arrived(count) {
      rows += count
      works++
    },
    waits(count) {
      if (waiting === 0) waiting = count
    },
    ran(count, ms) {
      runMs += ms
      if (waiting === 0) return
      waits++
      before += waiting
      after += count
      waiting = 0
    },
  }
}
