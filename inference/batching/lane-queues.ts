import { type PendingWork, rowsOf, type Segment } from './pending-work.ts'

/**
 * Works that wait, lane by lane. A lane's rows leave in their order. Of the lanes, the one that has waited longest is next, which
 * keeps the longest wait short; or the one that has had least, so that a lane with few rows does not wait for those with a
 * backlog (start-time fair queueing, Goyal et al., SIGCOMM '96: a lane that was idle begins where the others are, it saves
 * nothing up).
 */
export interface LaneQueues {
  /** Rows that wait. */
  readonly rows: number
  push(pending: PendingWork): void
  /**
   * The rows of the next batch, at most `cap`. All that wait where they fit; else every lane gets an even share, or one lane
   * all of it in its turn, where it has `alone` rows that lie together: they need not be copied. `turns` says whose turn it is.
   */
  take(cap: number, alone: number, turns: Turns): Segment[]
  /** Takes a work out whose rows will not be run. */
  drop(pending: PendingWork): void
  /** When the work that waits longest began to, monotonic ms; Infinity when none waits. */
  since(): number
  /** The earliest deadline of a lane's first work, monotonic ms. */
  deadline(): number
}

/** The lane that waits longest, or the one that has had least. */
export type Turns = 'oldest' | 'least'

interface Lane {
  /** Works that wait are a list by their `next`. */
  first: PendingWork | null
  last: PendingWork | null
  rows: number
  /** Rows had where the lane that had least was next; it begins where the others are. */
  served: number
  /** Of the next batch. */
  share: number
}

/** Of a lane with rows: the lowest is next. */
function rank({ first, served }: Lane, turns: Turns): number {
  return turns === 'oldest' ? (first as PendingWork).since : served
}

export function createLaneQueues(): LaneQueues {
  /** Every lane that ever was: partitions of a few pipelines. */
  const lanes = new Map<string, Lane>()
  /** Those with rows. */
  let active: Lane[] = []
  let rows = 0
  /** What the lane had had whose turn came last. */
  let turn = 0

  function laneOf(name: string): Lane {
    const known = lanes.get(name)
    if (known !== undefined) return known
    const lane: Lane = { first: null, last: null, rows: 0, served: 0, share: 0 }
    lanes.set(name, lane)
    return lane
  }

  function unlink(lane: Lane, pending: PendingWork, before: PendingWork | null): void {
    if (before === null) lane.first = pending.next
    else before.next = pending.next
    if (pending.next === null) lane.last = before
    pending.next = null
  }

  /** Moves the first `count` rows of a lane to the batch. What it has by its age is not held against it. */
  function move(lane: Lane, count: number, turns: Turns, batch: Segment[]): void {
    let at = rowsOf(batch)
    for (const end = at + count; at < end; ) {
      const pending = lane.first as PendingWork
      const some = Math.min(pending.queued, end - at)
      const from = pending.taken
      pending.taken += some
      batch.push({ pending, from, to: from + some, at })
      at += some
      if (turns === 'least') {
        turn = Math.max(turn, lane.served)
        lane.served += some
      }
      if (pending.queued === 0) unlink(lane, pending, null)
    }
    lane.rows -= count
    rows -= count
  }

  /** Even shares (max-min): what a lane does not need goes to the others; a remainder to those whose turn it is. */
  function fill(cap: number, turns: Turns, batch: Segment[]): void {
    active.sort((one, other) => rank(one, turns) - rank(other, turns))
    let left = cap
    for (let open = active.length; left > 0 && open > 0; ) {
      const each = Math.max(1, Math.floor(left / open))
      open = 0
      for (const lane of active) {
        const more = Math.min(each, lane.rows - lane.share, left)
        lane.share += more
        left -= more
        if (lane.share < lane.rows) open++
      }
    }
    for (const lane of active) {
      move(lane, lane.share, turns, batch)
      lane.share = 0
    }
  }

  /** Of the works that are first in their lanes. */
  function least(of: (pending: PendingWork) => number): number {
    let found = Number.POSITIVE_INFINITY
    for (const { first } of active) found = Math.min(found, of(first as PendingWork))
    return found
  }

  function next(turns: Turns): Lane {
    let found = active[0] as Lane
    for (const lane of active) if (rank(lane, turns) < rank(found, turns)) found = lane
    return found
  }

  return {
    get rows() {
      return rows
    },
    push(pending) {
      const lane = laneOf(pending.work.lane)
      if (lane.rows === 0) {
        lane.served = Math.max(lane.served, active.length === 0 ? turn : next('least').served)
        active.push(lane)
      }
      if (lane.last === null) lane.first = pending
      else lane.last.next = pending
      lane.last = pending
      lane.rows += pending.count
      rows += pending.count
    },
    take(cap, alone, turns) {
      const batch: Segment[] = []
      if (rows === 0) return batch
      const lane = next(turns)
      const together = (lane.first as PendingWork).queued
      // in equal parts, so that no small rest is left over
      const part = Math.ceil(together / Math.ceil(together / cap))
      if (part >= alone || together === rows) move(lane, part, turns, batch)
      else fill(cap, turns, batch)
      active = active.filter((other) => other.rows > 0)
      return batch
    },
    drop(pending) {
      const lane = lanes.get(pending.work.lane)
      if (lane === undefined || pending.queued === 0) return
      let before: PendingWork | null = null
      for (let at = lane.first; at !== null && at !== pending; at = at.next) before = at
      unlink(lane, pending, before)
      lane.rows -= pending.queued
      rows -= pending.queued
      if (lane.rows === 0) active = active.filter((other) => other !== lane)
    },
    since: () => least(({ since }) => since),
    deadline: () => least(({ work }) => work.deadline),
  }
}
