import { retryAfter } from '../http/problem.ts'
import type { AppliedLimit } from './applied-limits.ts'
import type { Cost, Standing, Verdict } from './limits.ts'
import { monthBegins, monthOf } from './month.ts'

/** How one limit stands after a take. */
export interface Reading {
  /** Tokens that are left (below 0: owed), or events that the month has left. */
  readonly left: number
  /** 0 = this limit let the cost through. */
  readonly waitMs: number
}

const FOR_EVER_MS = 366 * 86_400_000
/** Of a token: who waited as long as it was told is not refused for a last digit. */
const ROUNDING = 1e-6

/**
 * The rule of a bucket: a cost goes through when the bucket holds it. A cost larger than the whole bucket (1,000 events at
 * 500 a second) goes through when the bucket is full and leaves a debt, which refuses what follows until it is paid: over
 * any time t no more than `limit * t` and one bucket, or one such request, is accepted.
 */
export function rateWaitMs(tokens: number, cost: number, limit: number, holds: number): number {
  if (cost <= 0) return 0
  if (limit <= 0) return FOR_EVER_MS
  const missing = Math.min(cost, holds) - tokens
  return missing <= ROUNDING ? 0 : (missing / limit) * 1_000
}

/** The readings as a caller hears of them: what refused first, then by what part is left. */
export function verdictOf(
  limits: readonly AppliedLimit[],
  readings: readonly Reading[],
  share: number,
  nowMs: number,
): Verdict {
  const rows = limits.map((limit, index) => ({ limit, reading: readings[index] ?? { left: 0, waitMs: 0 } }))
  rows.sort(
    (a, b) => b.reading.waitMs - a.reading.waitMs || a.reading.left / a.limit.limit - b.reading.left / b.limit.limit,
  )
  const waitMs = rows[0]?.reading.waitMs ?? 0
  return {
    ok: waitMs === 0,
    standings: rows.map(({ limit, reading }) => standingOf(limit, reading, share, nowMs)),
    retryAfterSeconds: waitMs === 0 ? 0 : Number(retryAfter(Math.ceil(waitMs / 1_000), jitterSeconds(waitMs))),
  }
}

/** Whether any limit has something to count. */
export function isCounted(limits: readonly AppliedLimit[], cost: Cost): boolean {
  return limits.some(({ of }) => cost[of] > 0)
}

/** `share` is the part of the limit that this process has: 1, or 1 / replicas while Redis is away. */
function standingOf({ name, limit, kind }: AppliedLimit, { left }: Reading, share: number, nowMs: number): Standing {
  const remaining = Math.max(0, Math.floor(left))
  if (kind === 'rate') {
    const missing = limit * share - left
    const resetSeconds = limit <= 0 ? FOR_EVER_MS / 1_000 : Math.ceil(Math.max(0, missing / (limit * share)))
    return { name, quota: limit, windowSeconds: 1, remaining, resetSeconds }
  }
  const month = monthOf(nowMs)
  const end = monthBegins(month + 1)
  return {
    name,
    quota: limit,
    windowSeconds: (end - monthBegins(month)) / 1_000,
    remaining,
    resetSeconds: Math.ceil((end - nowMs) / 1_000),
  }
}

/** A tenth of the wait, 1 s at least and a minute at most. */
function jitterSeconds(waitMs: number): number {
  return Math.min(60, Math.max(1, Math.ceil(waitMs / 10_000)))
}
