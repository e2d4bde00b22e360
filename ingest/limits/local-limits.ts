import type { Clock } from '../../infra/runtime/clock.ts'
import type { AppliedLimit } from './applied-limits.ts'
import type { Cost } from './limits.ts'
import { monthBegins, monthOf } from './month.ts'
import { type Reading, rateWaitMs } from './tally.ts'

/** This process's share of every limit that it has seen: what Redis last said of it, divided by the replicas, and what was taken since. */
export interface LocalLimits {
  /** All of the cost or nothing. */
  take(limits: readonly AppliedLimit[], cost: Cost): readonly Reading[]
  /** What was taken here and Redis does not know of is not owed; what Redis was told already stays taken there. */
  giveBack(limits: readonly AppliedLimit[], cost: Cost): void
  /** What was taken here and Redis does not know yet, by index; Redis is being told, so it is owed no more. */
  owed(limits: readonly AppliedLimit[]): readonly number[]
  /** Redis was not told after all. */
  stillOwed(limits: readonly AppliedLimit[], amounts: readonly number[]): void
  /** What Redis said. */
  learn(limits: readonly AppliedLimit[], readings: readonly Reading[]): void
}

interface Share {
  /** Of a rate: tokens of this process's bucket. Of a month: events that this process may let through before Redis is back. */
  tokens: number
  /** Monotonic ms; of a month: which one. */
  at: number
  /** Taken since Redis last answered. */
  spent: number
}

/** So many limits are remembered; beyond, the one that was not asked for longest begins anew. */
const REMEMBERED = 20_000

export function createLocalLimits(options: { readonly replicas: number; readonly clock: Clock }): LocalLimits {
  const { replicas, clock } = options
  const shares = new Map<string, Share>()

  function shareOf({ key, kind, limit }: AppliedLimit): Share {
    const found = shares.get(key)
    const now = kind === 'rate' ? clock.monotonic() : monthOf(clock.now())
    const part = limit / replicas
    if (found === undefined) {
      const fresh = { tokens: part, at: now, spent: 0 }
      shares.set(key, fresh)
      for (const oldest of shares.keys()) {
        if (shares.size <= REMEMBERED) break
        shares.delete(oldest)
      }
      return fresh
    }
    // the last of the map is what was asked for last
    shares.delete(key)
    shares.set(key, found)
    if (kind === 'rate') {
      found.tokens = Math.min(part, found.tokens + (Math.max(0, now - found.at) * part) / 1_000)
    } else if (now !== found.at) {
      found.tokens = part
      found.spent = 0
    }
    found.at = now
    return found
  }

  return {
    take(limits, cost) {
      const taken = limits.map((limit) => ({ limit, share: shareOf(limit), waitMs: 0 }))
      for (const one of taken) one.waitMs = waitOf(one.limit, one.share, cost[one.limit.of])
      if (taken.every(({ waitMs }) => waitMs === 0)) {
        for (const { share, limit } of taken) {
          share.tokens -= cost[limit.of]
          share.spent += cost[limit.of]
        }
      }
      return taken.map(({ share, waitMs }) => ({ left: share.tokens, waitMs }))
    },
    giveBack(limits, cost) {
      for (const limit of limits) {
        const share = shareOf(limit)
        const back = Math.min(cost[limit.of], share.spent)
        share.spent -= back
        share.tokens = Math.min(limit.limit / replicas, share.tokens + back)
      }
    },
    owed(limits) {
      return limits.map((limit) => {
        if (!shares.has(limit.key)) return 0
        const share = shareOf(limit)
        if (share.spent === 0) return 0
        const { spent } = share
        share.spent = 0
        // what the bucket would have had again by now is not owed: it is full in Redis too
        return limit.kind === 'month' ? spent : Math.min(spent, limit.limit / replicas - share.tokens)
      })
    },
    stillOwed(limits, amounts) {
      for (const [index, limit] of limits.entries()) shareOf(limit).spent += amounts[index] ?? 0
    },
    learn(limits, readings) {
      for (const [index, limit] of limits.entries()) {
        const share = shareOf(limit)
        // a take that was counted here meanwhile is still to be told
        share.tokens = (readings[index]?.left ?? 0) / replicas - share.spent
      }
    },
  }

  function waitOf({ kind, limit }: AppliedLimit, { tokens, at }: Share, cost: number): number {
    if (kind === 'rate') return rateWaitMs(tokens, cost, limit / replicas, limit / replicas)
    return cost <= 0 || cost <= tokens ? 0 : monthBegins(at + 1) - clock.now()
  }
}
