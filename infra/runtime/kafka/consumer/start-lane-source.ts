import { killPoint } from '#kill-points'
import type { Clock } from '../../clock.ts'
import { describeError, fateOf } from '../../errors.ts'
import type { Started } from '../../lifecycle/scope.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import { createLogReader } from '../log-reader.ts'
import type { BrokerError } from '../protocol/error-codes.ts'
import { createAssignedLanes } from './assigned-lanes.ts'
import { createCommitter } from './committer.ts'
import { createFetcher } from './fetcher.ts'
import { createHandOut } from './hand-out.ts'
import type { LaneHooks, LaneSource, PartitionPauses } from './lane-source.ts'
import { locate } from './lost-position.ts'
import { createMembership } from './membership.ts'
import { isOwned, isWorking, type OwnedLane } from './owned-lane.ts'
import { readTopic } from './read-topic.ts'
import { type LostRange, type Start, startPosition } from './start-position.ts'

export interface LaneSourceOptions {
  readonly connections: KafkaConnections
  readonly clock: Clock
  readonly logger: Logger
  readonly group: string
  readonly topic: string
  /** Where a partition begins for which the group has no position; decided once, and committed before the first fetch. */
  readonly start: Start
  readonly hooks: LaneHooks
  /**
   * A partition is not fetched while more than this is in memory for it; one fetch may go above. A function is told how many
   * partitions the source has, and asked again and again.
   */
  readonly maxLaneBytes: number | ((owned: () => number) => () => number)
  readonly commitIntervalMs: number
  /** Of one partition at once. Default 4. */
  readonly maxBatchesOut?: number
  /** Default 6 s. */
  readonly sessionTimeoutMs?: number
  /** Static membership. */
  readonly instanceId?: string
  /** A partition that has not drained by then is given up as lost. Default 30 s. */
  readonly drainTimeoutMs?: number
  /** How often added partitions and another making of the topic are looked for. Default 30 s. */
  readonly metadataMaxAgeMs?: number
  /**
   * Records were deleted before they were read: accounts for the range and answers where to go on. Without it the source ends
   * with `retention_lost`. Called again with back-off while it rejects with `retry`.
   */
  readonly onRetentionLost?: (range: LostRange) => Promise<number>
  readonly observer?: LaneSourceObserver
}

/** What happens to the membership, for logs and metrics; may not throw. */
export interface LaneSourceObserver {
  joined?(joined: { readonly generation: number; readonly leader: boolean; readonly members: number }): void
  /** The partition flows from its first offset on. */
  assigned?(partition: number, from: number): void
  /** Drained, committed and closed. */
  revoked?(partitions: readonly number[]): void
  lost?(partitions: readonly number[]): void
  stalled?(forMs: number): void
  commitRefused?(refused: {
    readonly error: BrokerError
    readonly generation: number
    readonly partitions: readonly number[]
  }): void
}

const DEFAULTS = { maxBatchesOut: 4, sessionTimeoutMs: 6_000, drainTimeoutMs: 30_000, metadataMaxAgeMs: 30_000 }

/** Joins the group. Rejects with `unknown_topic` (crash), or a `retry` error while the brokers are away. */
export async function startLaneSource(given: LaneSourceOptions): Promise<Started<LaneSource & PartitionPauses>> {
  const options = { ...DEFAULTS, ...given }
  const { connections, clock, group, topic, hooks, observer } = options
  const logger = options.logger.child({ group, topic })
  const log = await readTopic(connections, group, topic, () => {
    // the leader's JoinGroup alone begins a rebalance
    if (membership.leader()) membership.rejoin()
  })
  const reader = createLogReader({ connections, clock })
  const paused = new Set<number>()
  let failed = false
  const { maxLaneBytes: bound } = options
  const maxLaneBytes = typeof bound === 'number' ? () => bound : bound(() => lanes.owned().length)

  const fail = (error: unknown): void => {
    failed = true
    fetcher.stop()
    handOut.fail(error)
  }

  const membership = createMembership({
    connections,
    clock,
    logger,
    group,
    topic,
    sessionTimeoutMs: options.sessionTimeoutMs,
    instanceId: options.instanceId ?? null,
    owned: () => lanes.owned(),
    partitions: log.refresh,
    onJoined: (joined) => observer?.joined?.(joined),
    onAssigned(partitions) {
      killPoint('during-rebalance')
      lanes.assign(partitions)
      fetcher.route()
      // one that was given back has records
      handOut.wake()
    },
    onLost(why) {
      logger.warn({ why }, 'expelled from the group')
      lanes.lose()
      handOut.wake()
    },
    onStalled(forMs) {
      const facts = { forMs: Math.round(forMs) }
      logger.warn(facts, 'no sign of the group for a session: nothing is handed out until it answers')
      observer?.stalled?.(forMs)
    },
    onEnded: fail,
  })
  const committer = createCommitter({
    connections,
    clock,
    logger,
    topic,
    membership,
    metadata: hooks.metadata?.bind(hooks),
    onRefused: (refused) => observer?.commitRefused?.(refused),
    onFailed: fail,
    onUnknownTopic: () => void lookForChanges(),
  })
  const lanes = createAssignedLanes({
    clock,
    logger,
    topic,
    generation: log.generation,
    hooks,
    drainTimeoutMs: options.drainTimeoutMs,
    committed: log.committed,
    startOf(partition, added, signal) {
      // nothing that was written before it was found may be left out. Members that join a new group at the very same time may
      // take each other's partitions for it, and read more than was asked for
      const start = added ? 'earliest' : options.start
      return startPosition({ connections, clock, reader }, topic, partition, start, signal)
    },
    commit: (lane, offset, metadata) => committer.commit(lane, offset, metadata),
    commitSettled: (lane) => committer.commitSettled([lane]),
    onFlowing(lane) {
      observer?.assigned?.(lane.partition, lane.records.settled)
      fetcher.route()
    },
    onDrained(partitions) {
      observer?.revoked?.(partitions)
      membership.rejoin()
    },
    onLost: (partitions) => observer?.lost?.(partitions),
    onFailed: fail,
  })
  const handOut = createHandOut({
    clock,
    maxBatchesOut: options.maxBatchesOut,
    membership,
    lanes: () => [...lanes.all()].filter((lane) => lane.state === 'flowing' && !paused.has(lane.partition)),
  })
  const lostPosition = {
    clock,
    logger,
    group,
    topic,
    refresh: log.refresh,
    range: (partition: number) => reader.range(topic, partition),
    onRetentionLost: options.onRetentionLost,
    onFailed: fail,
  }
  const fetcher = createFetcher({
    connections,
    clock,
    logger,
    topic,
    maxLaneBytes,
    lanes: lanes.all,
    isPaused: (partition) => paused.has(partition),
    refresh: log.refresh,
    onRecords: handOut.wake,
    onOutOfRange: (lane) => void locate(lane, lostPosition).then(fetcher.route),
    onFailed: fail,
  })

  async function lookForChanges(): Promise<void> {
    try {
      await log.refresh()
    } catch (error) {
      if (fateOf(error) !== 'retry') fail(error)
      else logger.warn(describeError(error), 'metadata: trying again')
    }
  }

  /** Whether something of it may be handed out or fetched again. */
  function moved(lane: OwnedLane): void {
    const { records } = lane
    if (records.batchesOut === 0) lane.idle?.()
    if (lane.full && records.heldBytes <= maxLaneBytes() / 2) {
      lane.full = false
      fetcher.route()
    }
    handOut.wake()
  }

  membership.start()
  const commitTimer = setInterval(() => {
    if (!failed) void committer.commitSettled([...lanes.all()].filter(isWorking))
  }, options.commitIntervalMs)
  const metadataTimer = setInterval(() => void lookForChanges(), options.metadataMaxAgeMs)

  const value: LaneSource & PartitionPauses = {
    generation: log.generation,
    take: handOut.take,
    settle(batch) {
      const lane = lanes.get(batch.partition)
      if (lane === undefined || !isWorking(lane) || !lane.records.settle(batch)) return
      lane.movedAt = clock.monotonic()
      moved(lane)
    },
    rewind(partition, offset, holdMs) {
      const lane = lanes.get(partition)
      if (lane === undefined || !isWorking(lane)) return
      const hasToFetch = lane.records.rewind(offset, clock.monotonic() + holdMs)
      moved(lane)
      if (hasToFetch) fetcher.route()
    },
    reach(partition, offset) {
      const lane = lanes.get(partition)
      if (lane === undefined || !isOwned(lane)) return
      lane.reach = offset
      if (!lane.full || lane.records.fetchAt >= offset) return
      lane.full = false
      fetcher.route()
    },
    owns(batch) {
      const lane = lanes.get(batch.partition)
      return lane !== undefined && isWorking(lane) && lane.records.owns(batch)
    },
    async commit(partition, offset, metadata) {
      const lane = lanes.get(partition)
      return lane !== undefined && (await committer.commit(lane, offset, metadata))
    },
    async confirm(partition) {
      const lane = lanes.get(partition)
      if (lane === undefined || !isOwned(lane)) return false
      await membership.confirm()
      return lanes.get(partition) === lane && isOwned(lane)
    },
    trusted: membership.trusted,
    pause: (partition) => void paused.add(partition),
    resume(partition) {
      if (!paused.delete(partition)) return
      const lane = lanes.get(partition)
      if (lane !== undefined) lane.movedAt = clock.monotonic()
      fetcher.route()
      handOut.wake()
    },
    paused: () => paused,
    endIntake: handOut.end,
    heldBytes: () => [...lanes.all()].reduce((bytes, { records }) => bytes + records.heldBytes, 0),
    positions() {
      const fetched = [...lanes.all()].filter((lane) => isWorking(lane) && lane.end >= 0)
      return new Map(fetched.map(({ partition, records, end }) => [partition, { settled: records.settled, end }]))
    },
    stuckSince: () => stuckSince(lanes.all(), paused, clock.monotonic()),
  }

  return {
    value,
    async stop() {
      handOut.end()
      clearInterval(commitTimer)
      clearInterval(metadataTimer)
      if (failed) lanes.lose()
      await lanes.drainAll()
      fetcher.stop()
      await membership.leave()
    },
  }
}

/** The lane that has had records to work on for longest without any progress. */
function stuckSince(
  lanes: Iterable<OwnedLane>,
  paused: ReadonlySet<number>,
  now: number,
): ReturnType<LaneSource['stuckSince']> {
  let longest: ReturnType<LaneSource['stuckSince']> = null
  for (const lane of lanes) {
    const { partition, records, readableEnd } = lane
    if (paused.has(partition) || (readableEnd >= 0 && records.settled >= readableEnd)) lane.movedAt = now
    const forMs = now - lane.movedAt
    if (forMs > 0 && forMs >= (longest?.forMs ?? 0)) longest = { partition, forMs }
  }
  return longest
}
