import type { ShadowRows } from './shadow-rows.ts'

export interface ShadowLimits {
  /** Rows that wait or are in work. */
  readonly maxRows: number
  /** Memory that they take. */
  readonly maxBytes: number
}

/**
 * What waits for a shadow version or is shown to it: bounded, and what comes last counts most. Rows are dropped as they were
 * offered together.
 */
export interface ShadowQueue {
  /** Waiting and in work. */
  readonly rows: number
  readonly bytes: number
  /** Answers what had to go for it, the oldest first: perhaps itself, where what is in work leaves no room. */
  push(rows: ShadowRows): readonly ShadowRows[]
  /** The oldest, which is in work from now on; null when nothing waits, or as much is in work as may be. */
  take(): ShadowRows | null
  /** It is not in work any more. */
  done(rows: ShadowRows): void
  /** Everything that waits. */
  clear(): readonly ShadowRows[]
}

/** Enough for a model to have full batches; the rest waits here, where it can be dropped. */
const ROWS_IN_WORK = 8_192
/** Of the limits, what may be in work. */
const SHARE_IN_WORK = 0.5

export function createShadowQueue({ maxRows, maxBytes }: ShadowLimits): ShadowQueue {
  let waiting: ShadowRows[] = []
  const total = { rows: 0, bytes: 0 }
  const inWork = { rows: 0, bytes: 0 }
  const mostInWork = { rows: Math.min(ROWS_IN_WORK, SHARE_IN_WORK * maxRows), bytes: SHARE_IN_WORK * maxBytes }

  return {
    get rows() {
      return total.rows
    },
    get bytes() {
      return total.bytes
    },
    push(rows) {
      const dropped: ShadowRows[] = []
      waiting.push(rows)
      add(total, rows, 1)
      while (total.rows > maxRows || total.bytes > maxBytes) {
        const oldest = waiting.shift()
        if (oldest === undefined) break
        add(total, oldest, -1)
        dropped.push(oldest)
      }
      return dropped
    },
    take() {
      const next = waiting[0]
      if (next === undefined) return null
      const after = { rows: inWork.rows + next.length, bytes: inWork.bytes + next.bytes }
      if (inWork.rows > 0 && (after.rows > mostInWork.rows || after.bytes > mostInWork.bytes)) return null
      waiting.shift()
      add(inWork, next, 1)
      return next
    },
    done(rows) {
      add(inWork, rows, -1)
      add(total, rows, -1)
    },
    clear() {
      const cleared = waiting
      waiting = []
      for (const rows of cleared) add(total, rows, -1)
      return cleared
    },
  }
}

function add(sum: { rows: number; bytes: number }, { length, bytes }: ShadowRows, sign: 1 | -1): void {
  sum.rows += sign * length
  sum.bytes += sign * bytes
}
