import { backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { describeError, fateOf } from '../../errors.ts'
import { untilDone } from '../../lifecycle/retry.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { Committed, LaneHooks } from './lane-source.ts'
import { isOwned, type OwnedLane, ownedLane } from './owned-lane.ts'

export interface AssignedLanesOptions {
  readonly clock: Clock
  readonly logger: Logger
  readonly topic: string
  readonly generation: string
  readonly hooks: LaneHooks
  readonly drainTimeoutMs: number
  /** What the group has committed for each; absent = nothing. */
  committed(partitions: readonly number[]): Promise<ReadonlyMap<number, Committed>>
  /** Where a partition without a position begins; `added`: the group has positions in others, so this one is younger than the group. */
  startOf(partition: number, added: boolean, signal: AbortSignal): Promise<number>
  commit(lane: OwnedLane, offset: number, metadata: string): Promise<boolean>
  commitSettled(lane: OwnedLane): Promise<void>
  onFlowing(lane: OwnedLane, committed: Committed): void
  /** They are drained, committed and closed: the group may give them away. */
  onDrained(partitions: readonly number[]): void
  onLost(partitions: readonly number[]): void
  onFailed(error: unknown): void
}

/** The partitions that are ours, each from its assignment until it is closed. */
export interface AssignedLanes {
  all(): Iterable<OwnedLane>
  get(partition: number): OwnedLane | undefined
  /** For the next claim: with those being drained or closed. */
  owned(): readonly number[]
  /** The whole assignment: opens what is new, drains what is not in it, leaves the rest alone. */
  assign(partitions: ReadonlySet<number>): void
  lose(): void
  /** Drains all and takes no more. */
  drainAll(): Promise<void>
}

const BACKOFF = { baseMs: 100, maxMs: 5_000 }

export function createAssignedLanes(options: AssignedLanesOptions): AssignedLanes {
  const { clock, logger, topic, hooks } = options
  const lanes = new Map<number, OwnedLane>()
  /** `close` hooks that run: the partition is not opened again before. */
  const closing = new Map<number, Promise<void>>()
  let assigned: ReadonlySet<number> = new Set()
  let ending = false
  let drained: number[] = []

  function create(partitions: readonly number[]): void {
    const fresh = partitions.map((partition) => ownedLane(topic, partition, options.generation, clock.monotonic()))
    for (const lane of fresh) lanes.set(lane.partition, lane)
    const committed = positions(fresh)
    for (const lane of fresh) lane.opening = open(lane, committed).catch((error: unknown) => options.onFailed(error))
  }

  async function positions(fresh: readonly OwnedLane[]): Promise<ReadonlyMap<number, Committed>> {
    await Promise.all(fresh.flatMap(({ partition }) => closing.get(partition) ?? []))
    for (let attempt = 0; ; attempt++) {
      try {
        return await options.committed(fresh.map(({ partition }) => partition))
      } catch (error) {
        if (!fresh.some(isOpening)) return new Map()
        if (fateOf(error) !== 'retry') throw error
        logger.warn({ ...describeError(error), topic, attempt }, 'reading the committed positions: trying again')
        await clock.sleep(backoffMs(BACKOFF, attempt))
      }
    }
  }

  /** A new group: where it begins is decided once, and stays. Null when the partition was given away meanwhile. */
  async function commitStart(lane: OwnedLane, added: boolean): Promise<Committed | null> {
    const { signal } = lane.gone
    try {
      const offset = await options.startOf(lane.partition, added, signal)
      return (await options.commit(lane, offset, '')) ? { offset, metadata: '' } : null
    } catch (error) {
      if (signal.aborted) return null
      throw error
    }
  }

  async function open(lane: OwnedLane, positions: Promise<ReadonlyMap<number, Committed>>): Promise<void> {
    const { partition, gone } = lane
    const all = await positions
    const known = all.get(partition)
    if (!isOpening(lane)) return
    const committed = known ?? (await commitStart(lane, all.size > 0))
    if (committed === null || !isOpening(lane)) return
    lane.opened = true
    try {
      const offset = await untilDone(
        `opening ${topic}/${partition}`,
        () => hooks.open(partition, committed, gone.signal),
        { backoff: BACKOFF, clock, logger, signal: gone.signal },
      )
      if (!isOpening(lane)) return
      lane.records.begin(offset)
      lane.committed = committed.offset
      lane.state = 'flowing'
      lane.movedAt = clock.monotonic()
      options.onFlowing(lane, committed)
    } catch (error) {
      if (!gone.signal.aborted) throw error
    }
  }

  /** A slow partition does not hold up the others; those of one turn go together. */
  function giveBack(partition: number): void {
    if (drained.push(partition) > 1) return
    setImmediate(() => {
      const partitions = drained
      drained = []
      options.onDrained(partitions)
    })
  }

  async function drain(lane: OwnedLane): Promise<'drained' | 'kept' | 'lost'> {
    if (lane.state === 'opening') {
      lane.state = 'closing'
      await close(lane, 'drained')
      return 'drained'
    }
    if (lane.state !== 'flowing') return 'kept'
    lane.state = 'draining'
    const turn = ++lane.drains
    const goesOn = (): boolean => lane.state === 'draining' && lane.drains === turn
    hooks.draining?.(lane.partition)
    await isIdle(lane)
    if (goesOn()) await options.commitSettled(lane)
    if (!goesOn()) return stateOf(lane) === 'lost' ? 'lost' : 'kept'
    lane.state = 'closing'
    await close(lane, 'drained')
    return 'drained'
  }

  /** Waits for its last batch, for the end of the time, or until it is not draining any more. */
  async function isIdle(lane: OwnedLane): Promise<void> {
    if (lane.records.batchesOut === 0) return
    const idle = Promise.withResolvers<void>()
    const waited = new AbortController()
    lane.idle = idle.resolve
    const late = clock.sleep(options.drainTimeoutMs, waited.signal).then(() => {
      if (waited.signal.aborted || lane.state !== 'draining' || lane.records.batchesOut === 0) return
      logger.warn(
        { topic, partition: lane.partition, batches: lane.records.batchesOut },
        'not drained in time: given up',
      )
      options.onLost([lane.partition])
      void forget(lane)
    })
    await Promise.race([idle.promise, late])
    waited.abort()
    lane.idle = null
  }

  function forget(lane: OwnedLane): Promise<void> {
    lane.state = 'lost'
    lane.idle?.()
    lanes.delete(lane.partition)
    return close(lane, 'lost')
  }

  function close(lane: OwnedLane, how: 'drained' | 'lost'): Promise<void> {
    const { partition } = lane
    lane.gone.abort()
    lane.records.clear()
    const closed = closeHook(lane, how).then(() => {
      if (closing.get(partition) === closed) closing.delete(partition)
      if (lanes.get(partition) === lane) lanes.delete(partition)
      // the group has given it back meanwhile
      if (how === 'drained' && assigned.has(partition) && !lanes.has(partition) && !ending) create([partition])
    })
    closing.set(partition, closed)
    return closed
  }

  async function closeHook(lane: OwnedLane, how: 'drained' | 'lost'): Promise<void> {
    await lane.opening
    try {
      if (lane.opened) await hooks.close?.(lane.partition, how)
    } catch (error) {
      options.onFailed(error)
    }
  }

  return {
    all: () => lanes.values(),
    get: (partition) => lanes.get(partition),
    owned: () => [...lanes.keys()],

    assign(partitions) {
      if (ending) return
      assigned = partitions
      const moved = [...lanes.values()].filter((lane) => !partitions.has(lane.partition))
      for (const partition of partitions) {
        const lane = lanes.get(partition)
        if (lane?.state !== 'draining') continue
        // given back before it was drained
        lane.state = 'flowing'
        lane.idle?.()
      }
      const fresh = [...partitions].filter((partition) => !lanes.has(partition))
      if (fresh.length > 0) create(fresh)
      if (moved.length === 0) return
      for (const lane of moved) {
        void drain(lane).then((outcome) => {
          if (outcome !== 'kept') giveBack(lane.partition)
        })
      }
    },

    lose() {
      assigned = new Set()
      const lost = [...lanes.values()].filter(isOwned)
      for (const lane of lost) void forget(lane)
      // closed in order already
      for (const lane of lanes.values()) lanes.delete(lane.partition)
      if (lost.length > 0) options.onLost(lost.map(({ partition }) => partition))
    },

    async drainAll() {
      ending = true
      const draining = [...lanes.values()].map(async (lane) => {
        // anew, so that the wait is ours
        if (lane.state === 'draining') lane.state = 'flowing'
        await drain(lane)
      })
      await Promise.all(draining)
      await Promise.all(closing.values())
    },
  }
}

function isOpening({ state }: OwnedLane): boolean {
  return state === 'opening'
}

/** As it is now: the compiler takes it for what it was before a wait. */
function stateOf({ state }: OwnedLane): OwnedLane['state'] {
  return state
}
