import { killPoint } from '#kill-points'
import type { Clock } from '../../clock.ts'
import { describeError, fatal, fateOf, retryable } from '../../errors.ts'
import type { Started } from '../../lifecycle/scope.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { TakeLimits } from '../batch-source.ts'
import { brokerRefusal } from '../connections/broker-refusals.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import { createLogReader } from '../log-reader.ts'
import type { BrokerError } from '../protocol/error-codes.ts'
import { offsetFetchRequest } from '../protocol/offset-fetch.ts'
import { createAssignedLanes } from './assigned-lanes.ts'
import type { ColumnBatch } from './column-batch.ts'
import { createCommitter } from './committer.ts'
import { createFetcher } from './fetcher.ts'
import { readyInMs } from './lane.ts'
import type { Committed, LaneHooks, LaneSource, PartitionPauses } from './lane-source.ts'
import { createMembership } from './membership.ts'
import { isOwned, isWorking, type OwnedLane } from './owned-lane.ts'
import { type LostRange, lostRange, positionLost, retentionLost, type Start, startPosition } from './start-position.ts'

export interface LaneSourceOptions {
  readonly connections: KafkaConnections
  readonly clock: Clock
  readonly logger: Logger
  readonly group: string
  readonly topic: string
  /** Where a partition begins for which the group has no position; decided once, and committed before the first fetch. */
  readonly start: Start
  readonly hooks: LaneHooks
  /** A partition is not fetched while more than this is in memory for it; one fetch may go above. */
  readonly maxLaneBytes: number
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
  const { connections, clock, group, topic, hooks, observer, maxLaneBytes, maxBatchesOut } = options
  const logger = options.logger.child({ group, topic })
  const first = (await connections.topics([topic])).get(topic)
  if (first === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
  const generation = first.id
  let partitionCount = first.partitions.length
  const reader = createLogReader({ connections, clock })
  const paused = new Set<number>()
  let failure: unknown = null
  let ended = false
  let turn = 0
  let wake = (): void => {}

  const fail = (error: unknown): void => {
    if (failure !== null) return
    failure = error
    fetcher.stop()
    wake()
  }

  /** What the topic is now; ends the source when it is another one. */
  async function refresh(): Promise<readonly number[]> {
    const found = (await connections.topics([topic])).get(topic)
    if (found === undefined) throw retryable('kafka_unavailable', `topic ${topic} is not there`)
    if (found.id !== generation) {
      throw fatal('topic_recreated', `${topic} was deleted and made again: its id was ${generation} and is ${found.id}`)
    }
    const grown = found.partitions.length !== partitionCount
    partitionCount = found.partitions.length
    // the leader's JoinGroup alone begins a rebalance
    if (grown && membership.leader()) membership.rejoin()
    return found.partitions.map(({ partition }) => partition)
  }

  async function committed(partitions: readonly number[]): Promise<ReadonlyMap<number, Committed>> {
    const what = `the positions of group ${group}`
    const found = new Map<number, Committed>()
    try {
      const coordinator = await connections.coordinator('group', group)
      const request = offsetFetchRequest(group, topic, partitions)
      const { error, positions } = await connections.send(coordinator, 'control', request)
      if (error !== null) throw brokerRefusal(error, what)
      for (const { error: own, partition, offset, metadata } of positions) {
        if (own !== null) throw brokerRefusal(own, what)
        if (offset !== null) found.set(partition, { offset, metadata })
      }
      return found
    } catch (error) {
      connections.forgetCoordinator('group', group)
      throw error
    }
  }

  /** The log does not have the position that was asked for: never another one by itself. */
  async function locate(lane: OwnedLane): Promise<void> {
    const { partition, records } = lane
    await refresh()
    const position = records.fetchAt
    const range = await reader.range(topic, partition)
    if (lane.state !== 'flowing' || records.fetchAt !== position) return
    if (position > range.end) throw positionLost(group, topic, partition, position, range)
    const lost = lostRange(partition, position, range)
    if (lost === null) return
    if (options.onRetentionLost === undefined) throw retentionLost(group, topic, lost)
    const next = await options.onRetentionLost(lost)
    if (lane.state === 'flowing' && records.fetchAt === position) records.skipTo(next)
  }

  async function locateUntilKnown(lane: OwnedLane): Promise<void> {
    for (let known = false; !known && failure === null && lane.state === 'flowing'; ) {
      try {
        await locate(lane)
        known = true
      } catch (error) {
        if (fateOf(error) !== 'retry') return fail(error)
        logger.warn({ ...describeError(error), partition: lane.partition }, 'position out of range: trying again')
      }
      // also when all is well: a leader that was just elected may not know its log's end yet
      await clock.sleep(LOCATE_EVERY_MS, lane.gone.signal)
    }
    lane.locating = false
    fetcher.route()
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
    partitions: refresh,
    onJoined: (joined) => observer?.joined?.(joined),
    onAssigned(partitions) {
      killPoint('during-rebalance')
      lanes.assign(partitions)
      fetcher.route()
    },
    onLost(why) {
      logger.warn({ why }, 'expelled from the group')
      lanes.lose()
      wake()
    },
    onStalled(forMs) {
      logger.warn(
        { forMs: Math.round(forMs) },
        'no sign of the group for a session: nothing is handed out until it answers',
      )
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
    generation,
    hooks,
    drainTimeoutMs: options.drainTimeoutMs,
    committed,
    startOf: (partition, signal) =>
      startPosition({ connections, clock, reader }, topic, partition, options.start, signal),
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
  const fetcher = createFetcher({
    connections,
    clock,
    logger,
    topic,
    maxLaneBytes,
    lanes: lanes.all,
    isPaused: (partition) => paused.has(partition),
    async refresh() {
      await refresh()
    },
    onRecords: () => wake(),
    onOutOfRange: (lane) => void locateUntilKnown(lane),
    onFailed: fail,
  })

  async function lookForChanges(): Promise<void> {
    try {
      await refresh()
    } catch (error) {
      if (fateOf(error) !== 'retry') fail(error)
      else logger.warn(describeError(error), 'metadata: trying again')
    }
  }

  membership.start()
  const commitTimer = setInterval(() => {
    if (failure === null) void committer.commitSettled([...lanes.all()].filter(isWorking))
  }, options.commitIntervalMs)
  const metadataTimer = setInterval(() => void lookForChanges(), options.metadataMaxAgeMs)

  const handedOut = (): OwnedLane[] =>
    [...lanes.all()].filter((lane) => lane.state === 'flowing' && !paused.has(lane.partition))

  function takeNow(limits: TakeLimits): ColumnBatch[] {
    const order = handedOut()
    const start = order.length === 0 ? 0 : turn++ % order.length
    const now = clock.monotonic()
    const taken: ColumnBatch[] = []
    let rows = limits.maxRows
    let bytes = limits.maxBytes
    for (const { records } of [...order.slice(start), ...order.slice(0, start)]) {
      if (rows <= 0 || bytes <= 0) break
      if (records.batchesOut >= maxBatchesOut || records.heldUntil > now) continue
      const batch = records.take({ maxRows: rows, maxBytes: bytes })
      if (batch === null) continue
      taken.push(batch)
      rows -= batch.length
      bytes -= batch.bytes
    }
    return taken
  }

  /** Whether something of it may be handed out or fetched again. */
  function moved(lane: OwnedLane): void {
    const { records } = lane
    lane.movedAt = clock.monotonic()
    if (records.batchesOut === 0) lane.idle?.()
    if (lane.full && records.heldBytes <= maxLaneBytes / 2) {
      lane.full = false
      fetcher.route()
    }
    wake()
  }

  const value: LaneSource & PartitionPauses = {
    generation,
    async take(limits) {
      for (;;) {
        if (failure !== null) throw failure
        if (ended) return []
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        const records = handedOut().map((lane) => lane.records)
        const inMs = readyInMs(records, limits, maxBatchesOut, clock.monotonic())
        if (inMs === 0 && !membership.trusted()) {
          await Promise.race([promise, membership.trust()])
          continue
        }
        const taken = inMs === 0 ? takeNow(limits) : []
        if (taken.length > 0) return taken
        const timer = inMs === null || inMs === 0 ? null : setTimeout(resolve, inMs)
        await promise
        if (timer !== null) clearTimeout(timer)
      }
    },
    settle(batch) {
      const lane = lanes.get(batch.partition)
      if (lane !== undefined && isWorking(lane) && lane.records.settle(batch)) moved(lane)
    },
    rewind(partition, offset, holdMs) {
      const lane = lanes.get(partition)
      if (lane === undefined || !isWorking(lane)) return
      const movedAt = lane.movedAt
      const isFetched = lane.records.rewind(offset, clock.monotonic() + holdMs)
      moved(lane)
      lane.movedAt = movedAt
      if (isFetched) fetcher.route()
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
    trusted: () => membership.trusted(),
    pause(partition) {
      paused.add(partition)
    },
    resume(partition) {
      if (!paused.delete(partition)) return
      const lane = lanes.get(partition)
      if (lane !== undefined) lane.movedAt = clock.monotonic()
      fetcher.route()
      wake()
    },
    paused: () => paused,
    endIntake() {
      ended = true
      wake()
    },
    heldBytes: () => [...lanes.all()].reduce((bytes, { records }) => bytes + records.heldBytes, 0),
    positions: () =>
      new Map(
        [...lanes.all()]
          .filter(({ state, end }) => state === 'flowing' && end >= 0)
          .map(({ partition, records, end }) => [partition, { settled: records.settled, end }]),
      ),
    stuckSince() {
      const now = clock.monotonic()
      let longest: { readonly partition: number; readonly forMs: number } | null = null
      for (const lane of lanes.all()) {
        const { partition, records, readableEnd } = lane
        if (paused.has(partition) || (readableEnd >= 0 && records.settled >= readableEnd)) lane.movedAt = now
        const forMs = now - lane.movedAt
        if (forMs > 0 && forMs >= (longest?.forMs ?? 0)) longest = { partition, forMs }
      }
      return longest
    },
  }

  return {
    value,
    async stop() {
      value.endIntake()
      clearInterval(commitTimer)
      clearInterval(metadataTimer)
      if (failure !== null) lanes.lose()
      await lanes.drainAll()
      fetcher.stop()
      await membership.leave()
    },
  }
}

/** How soon a position that the log does not have is asked for again. */
const LOCATE_EVERY_MS = 200
