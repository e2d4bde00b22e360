/** Refusals, answered no faster than they may cost. Times are monotonic ms. */
export interface Refusals {
  /** Answers at once, or when it is this one's turn. */
  add(answer: () => void): void
  /** Begins a new interval. */
  next(): void
  /** Answers all that wait. */
  flush(): void
}

export interface RefusalRules {
  /** So many are answered in an interval. */
  readonly perInterval: number
  /** Nobody waits longer, even if more are answered then. */
  readonly maxWaitMs: number
  readonly monotonic: () => number
}

/**
 * Who is refused often comes again at once, whatever `Retry-After` says: were each answered at once, answering them would take the time of
 * those that are let in, the more the faster it went. So few are answered at once and many a little later.
 */
export function createRefusals({ perInterval, maxWaitMs, monotonic }: RefusalRules): Refusals {
  const waiting: { readonly since: number; readonly answer: () => void }[] = []
  let answered = 0

  return {
    add(answer) {
      if (waiting.length === 0 && answered < perInterval) {
        answered++
        answer()
      } else waiting.push({ since: monotonic(), answer })
    },
    next() {
      const late = monotonic() - maxWaitMs
      const more = waiting.findIndex(({ since }, index) => index >= perInterval && since > late)
      const due = waiting.splice(0, more === -1 ? waiting.length : more)
      answered = due.length
      for (const { answer } of due) answer()
    },
    flush() {
      for (const { answer } of waiting.splice(0)) answer()
    },
  }
}
