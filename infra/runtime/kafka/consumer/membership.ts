import { backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { describeError, fatal, fateOf, retryable } from '../../errors.ts'
import type { Logger } from '../../telemetry/logger.ts'
import { brokerRefusal } from '../connections/broker-refusals.ts'
import type { Channel, KafkaConnections } from '../connections/connections.ts'
import { decodeAssignment, decodeClaim, encodeAssignment, encodeSubscription } from '../protocol/consumer-protocol.ts'
import type { BrokerError } from '../protocol/error-codes.ts'
import { heartbeatRequest } from '../protocol/heartbeat.ts'
import { type JoinedGroup, joinGroupRequest } from '../protocol/join-group.ts'
import { leaveGroupRequest } from '../protocol/leave-group.ts'
import type { KafkaRequest } from '../protocol/request.ts'
import { type GroupMember, syncGroupRequest } from '../protocol/sync-group.ts'
import { assign } from './assignor.ts'

/**
 *   outside   not a member: nothing is owned. Joins.
 *   joining   JoinGroup waits at the coordinator until every member has joined. What is owned flows on, and is committed in the
 *             generation before
 *   syncing   the new generation has begun, its assignment is not known yet (a few ms): commits wait
 *   stable    the assignment is known
 *   left      by our own wish, or because another process took our instance id
 *
 *   outside → joining → syncing → stable → joining (a rebalance)      joining, syncing, stable → outside (expelled) → joining
 *   any → left
 */
export type MemberState = 'outside' | 'joining' | 'syncing' | 'stable' | 'left'

export interface MembershipOptions {
  readonly connections: KafkaConnections
  readonly clock: Clock
  readonly logger: Logger
  readonly group: string
  readonly topic: string
  readonly sessionTimeoutMs: number
  /** Static membership: a restart with the same id within the session is no rebalance. */
  readonly instanceId: string | null
  /** What we have, with what is being drained. */
  owned(): readonly number[]
  /** All partitions of the topic, now. Asked of the group's leader. */
  partitions(): Promise<readonly number[]>
  onJoined(joined: { readonly generation: number; readonly leader: boolean; readonly members: number }): void
  /** The whole assignment, for each generation. */
  onAssigned(partitions: ReadonlySet<number>): void
  /** Expelled: whatever was owned may already be somebody else's. */
  onLost(why: BrokerError): void
  /** No sign of the coordinator, or of this process itself, for as long as a session. */
  onStalled(forMs: number): void
  /** The membership cannot go on. */
  onEnded(error: unknown): void
}

export interface Membership {
  /** Joins, and stays a member until `leave`. */
  start(): void
  readonly state: MemberState
  /** For requests of this member; generation -1 outside. */
  identity(): GroupMember
  /** Joins again, because what we own has changed or the leader saw another topic. */
  rejoin(): void
  /** Resolves once the state is not `syncing`. */
  synced(): Promise<void>
  /** Waits until the coordinator has answered, after this call, that we are a member; or that we are not, after `onLost`. */
  confirm(): Promise<void>
  /** False after a stall as long as the session, or without an answer for as long, until the coordinator has answered. */
  trusted(): boolean
  /** Waits until `trusted` or not a member any more. */
  trust(): Promise<void>
  /** What another request of this member was told. Throws `retry` when it should be made again, later; else what ends the source. */
  told(error: BrokerError, asked: GroupMember): void
  leader(): boolean
  /** Stops; a dynamic member says so to the coordinator. */
  leave(): Promise<void>
}

const PROTOCOL = 'millrace-sticky-1'
const REBALANCE_TIMEOUT_MS = 60_000
const BACKOFF = { baseMs: 100, maxMs: 2_000 }
const MAX_HEARTBEAT_INTERVAL_MS = 500
/** Who coordinates the group is moving. */
const COORDINATOR_AWAY: ReadonlySet<BrokerError> = new Set<BrokerError>([
  'COORDINATOR_LOAD_IN_PROGRESS',
  'COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR',
])

export function createMembership(options: MembershipOptions): Membership {
  const { connections, clock, logger, group, topic, sessionTimeoutMs, instanceId } = options
  const channel = `group ${group}` as const
  const stopping = new AbortController()
  let state: MemberState = 'outside'
  let member = ''
  let generation = -1
  let leading = false
  /** Resolved when another round of joining is wanted. */
  let wanted = Promise.withResolvers<void>()
  let expelled = Promise.withResolvers<void>()
  let synced = Promise.withResolvers<void>()
  /** When the last answered request was sent; monotonic ms. */
  let confirmedAt = clock.monotonic()
  let seenAt = confirmedAt
  let stalledAt: number | null = null
  let waiting: { readonly since: number; resolve(): void }[] = []
  let beating = false
  /** Counts the attempts to join: the answer to an earlier one is of no use. */
  let round = 0

  const identity = (): GroupMember => ({ group, generation, member, instance: instanceId })
  const enter = (next: MemberState): void => {
    if (state !== 'left') state = next
    if (next === 'syncing') return
    synced.resolve()
    synced = Promise.withResolvers()
  }
  const releaseAll = (): void => {
    stalledAt = null
    for (const { resolve } of waiting.splice(0)) resolve()
  }
  const confirm = (sentAt: number): void => {
    confirmedAt = Math.max(confirmedAt, sentAt)
    if (stalledAt !== null && sentAt >= stalledAt) stalledAt = null
    const [ready, rest] = [
      waiting.filter(({ since }) => sentAt >= since),
      waiting.filter(({ since }) => sentAt < since),
    ]
    waiting = rest
    for (const { resolve } of ready) resolve()
  }
  const lose = (why: BrokerError): void => {
    const wasMember = generation >= 0
    if (why !== 'ILLEGAL_GENERATION') member = ''
    generation = -1
    leading = false
    enter('outside')
    if (wasMember) options.onLost(why)
    releaseAll()
    expelled.resolve()
    wanted.resolve()
  }
  const end = (error: unknown, why: BrokerError): void => {
    lose(why)
    enter('left')
    stopping.abort()
    options.onEnded(error)
  }

  async function ask<T>(by: Channel, request: KafkaRequest<T>): Promise<T> {
    try {
      return await connections.send(await connections.coordinator('group', group), by, request)
    } catch (error) {
      connections.forgetCoordinator('group', group)
      throw error
    }
  }

  function told(error: BrokerError, asked: GroupMember): void {
    const current = asked.member === member && asked.generation === generation
    if (error === 'REBALANCE_IN_PROGRESS') {
      if (current && state === 'stable') rejoin()
    } else if (error === 'UNKNOWN_MEMBER_ID') {
      if (asked.member === member) lose(error)
    } else if (error === 'ILLEGAL_GENERATION') {
      // while JoinGroup waits, its answer may be on the way
      if (current && state !== 'joining') lose(error)
    } else if (error === 'FENCED_INSTANCE_ID') {
      end(fatal('instance_fenced', `group ${group}: another process has joined as ${instanceId}`), error)
    } else {
      throw refusal(error)
    }
  }

  /** `retry` where another try may help. */
  function refusal(error: BrokerError): Error {
    if (error === 'INCONSISTENT_GROUP_PROTOCOL' || error === 'INVALID_SESSION_TIMEOUT') {
      return fatal('kafka_refused', `group ${group}: ${error}: another program uses it, or the broker's limits differ`)
    }
    if (COORDINATOR_AWAY.has(error)) {
      connections.forgetCoordinator('group', group)
      return retryable('kafka_unavailable', `group ${group}: ${error}`)
    }
    return brokerRefusal(error, `group ${group}`)
  }

  function rejoin(): void {
    wanted.resolve()
  }

  async function join(): Promise<void> {
    const own = ++round
    expelled = Promise.withResolvers()
    if (generation >= 0) enter('joining')
    const claim = { generation, owned: options.owned() }
    const joined = await ask(
      channel,
      joinGroupRequest({
        group,
        sessionTimeoutMs,
        rebalanceTimeoutMs: Math.max(REBALANCE_TIMEOUT_MS, sessionTimeoutMs),
        member,
        instance: instanceId,
        protocol: PROTOCOL,
        metadata: encodeSubscription(topic, claim),
      }),
    )
    if (own !== round || stopping.signal.aborted) return
    if (joined.error === 'MEMBER_ID_REQUIRED') member = joined.member
    else if (joined.error !== null) told(joined.error, identity())
    else return await sync(joined, own)
    rejoin()
  }

  async function sync(joined: JoinedGroup, own: number): Promise<void> {
    // nothing was owned until now: there is no earlier sign of the coordinator that could be too old
    if (generation < 0) confirmedAt = clock.monotonic()
    member = joined.member
    generation = joined.generation
    leading = joined.leader === member
    enter('syncing')
    options.onJoined({ generation, leader: leading, members: joined.members.length })
    const asked = identity()
    const sentAt = clock.monotonic()
    const assignments = leading ? await lead(joined) : []
    const { error, assignment } = await ask(channel, syncGroupRequest(asked, assignments, REBALANCE_TIMEOUT_MS))
    if (own !== round || stopping.signal.aborted) return
    if (error !== null) {
      told(error, asked)
      return rejoin()
    }
    const { partitions, released } = decodeAssignment(assignment, topic)
    enter('stable')
    confirm(sentAt)
    options.onAssigned(new Set(partitions))
    // a static member gets the assignment of the process before it, which may have died before it gave these back: nobody has them
    const owned = options.owned()
    if (released.some((partition) => !owned.includes(partition))) rejoin()
  }

  async function lead({ members }: JoinedGroup): Promise<{ member: string; assignment: Buffer }[]> {
    const claims = members.flatMap(({ member: id, metadata }) => {
      const claim = decodeClaim(metadata, topic)
      return claim === null ? [] : [{ member: id, ...claim }]
    })
    const assigned = assign(claims, await options.partitions())
    return claims.map(({ member: id, owned }) => {
      const partitions = assigned.get(id) ?? []
      const released = owned.filter((partition) => !partitions.includes(partition))
      return { member: id, assignment: encodeAssignment(topic, { partitions, released }) }
    })
  }

  async function run(): Promise<void> {
    for (let attempt = 0; !stopping.signal.aborted; ) {
      wanted = Promise.withResolvers()
      try {
        const joining = join()
        // expelled while JoinGroup waits at a coordinator that may be gone: not waited for any longer
        await Promise.race([joining, expelled.promise])
        attempt = 0
        await wanted.promise
      } catch (error) {
        if (stopping.signal.aborted) return
        if (fateOf(error) !== 'retry') return end(error, 'UNKNOWN_MEMBER_ID')
        logger.warn({ ...describeError(error), attempt }, 'joining the group: trying again')
        await clock.sleep(backoffMs(BACKOFF, attempt++), stopping.signal)
      }
    }
  }

  /** Not on the channel where JoinGroup may wait: a member that waits there is still asked whether it is one. */
  async function beat(): Promise<void> {
    trusted()
    if (generation < 0 || beating) return
    beating = true
    const asked = identity()
    const sentAt = clock.monotonic()
    try {
      const error = await ask('control', heartbeatRequest(asked))
      if (error !== null) told(error, asked)
      // either we are in this generation, or in the next one and do not know it yet
      if (asked.member === member && generation >= 0) confirm(sentAt)
    } catch (error) {
      if (fateOf(error) !== 'retry') end(error, 'UNKNOWN_MEMBER_ID')
      else logger.debug({ ...describeError(error) }, 'no heartbeat')
    } finally {
      beating = false
    }
    const unanswered = waiting.some(({ since }) => since > sentAt) || (stalledAt !== null && stalledAt > sentAt)
    if (unanswered && confirmedAt >= sentAt) void beat()
  }

  function trusted(): boolean {
    const now = clock.monotonic()
    const stoodStill = now - seenAt
    seenAt = now
    const silent = now - confirmedAt
    if (generation < 0) return false
    if (stalledAt === null && Math.max(stoodStill, silent) > sessionTimeoutMs) {
      stalledAt = now
      options.onStalled(Math.max(stoodStill, silent))
      setImmediate(() => void beat())
    }
    return stalledAt === null
  }

  function waitUntil(since: number): Promise<void> {
    if (generation < 0) return Promise.resolve()
    return new Promise((resolve) => {
      waiting.push({ since, resolve })
      void beat()
    })
  }

  const intervalMs = Math.min(MAX_HEARTBEAT_INTERVAL_MS, sessionTimeoutMs / 6)
  let timer: NodeJS.Timeout | undefined
  let running = Promise.resolve()
  return {
    start() {
      timer = setInterval(() => void beat(), intervalMs)
      running = run()
    },
    get state() {
      return state
    },
    identity,
    rejoin,
    synced: () => (state === 'syncing' ? synced.promise : Promise.resolve()),
    confirm: () => waitUntil(clock.monotonic()),
    trusted,
    trust: () => (trusted() ? Promise.resolve() : waitUntil(stalledAt ?? 0)),
    told,
    leader: () => leading,
    async leave() {
      clearInterval(timer)
      stopping.abort()
      const leaving = member
      enter('left')
      generation = -1
      releaseAll()
      expelled.resolve()
      rejoin()
      if (instanceId === null && leaving !== '') {
        // ends a JoinGroup that waits; when it does not arrive, the session runs out
        await ask('control', leaveGroupRequest(group, leaving)).catch((error: unknown) => {
          logger.warn({ ...describeError(error) }, 'the group was not told that this member leaves')
        })
      }
      await running
    },
  }
}
