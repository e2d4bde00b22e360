/**
 * Small inserts are spread out: every insert makes a part that ClickHouse has to merge, whatever its size. The members of
 * a group share `perSecond` inserts by the partitions that they own, and the lanes of a member take turns.
 */
export interface InsertPace {
  /** How long a chunk that is not full must still wait, ms; 0 = it may go now, and its turn is counted. */
  waitMs(now: number): number
  /** A full chunk goes at once, and its turn is counted. */
  pass(now: number): void
}

export interface InsertPaceOptions {
  /** Of the whole group. */
  readonly perSecond: number
  /** Part of the topic's partitions that this member owns, from 0 to 1. */
  readonly share: () => number
}

/** Of a member that has nothing at the moment. */
const LEAST_SHARE = 0.001

export function createInsertPace({ perSecond, share }: InsertPaceOptions): InsertPace {
  let nextAt = Number.NEGATIVE_INFINITY
  const take = (now: number): void => {
    nextAt = now + 1_000 / (perSecond * Math.max(share(), LEAST_SHARE))
  }
  return {
    waitMs(now) {
      if (now < nextAt) return nextAt - now
      take(now)
      return 0
    },
    pass: take,
  }
}
