import { expect, onTestFinished, test } from 'vitest'
import type { Clock } from '../../infra/runtime/clock.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createMembership, type Membership } from '../../infra/runtime/kafka/consumer/membership.ts'
import { encodeAssignment, encodeSubscription } from '../../infra/runtime/kafka/protocol/consumer-protocol.ts'
import type { KafkaRequest } from '../../infra/runtime/kafka/protocol/request.ts'
import { wireReader } from '../../infra/runtime/kafka/protocol/wire.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { manualClock } from '../support/manual-clock.ts'

const SESSION_MS = 60
const DEADLINE = { deadlineMs: 30_000 }

type Asked = { readonly name: string; readonly channel: string; readonly member: string; readonly generation: number }

/** A coordinator that answers as it is told, else like one with this single member. */
function coordinator() {
  const script = new Map<string, unknown[]>()
  const asked: Asked[] = []
  let forgotten = 0
  let generation = 0
  const usual: Readonly<Record<string, () => unknown>> = {
    JoinGroup: () => ({
      error: null,
      generation: ++generation,
      leader: 'm',
      member: 'm',
      members: [{ member: 'm', metadata: encodeSubscription('t', { generation: -1, owned: [] }) }],
    }),
    SyncGroup: () => ({ error: null, assignment: encodeAssignment('t', { partitions: [0, 1], released: [] }) }),
    Heartbeat: () => null,
    LeaveGroup: () => null,
  }
  const connections = {
    coordinator: async () => 1,
    forgetCoordinator: () => {
      forgotten++
    },
    async send(_: number, channel: string, request: KafkaRequest<unknown>) {
      asked.push({ name: request.name, channel, ...identity(request) })
      const next = script.get(request.name)?.shift()
      if (next === undefined) return usual[request.name]?.()
      return typeof next === 'function' ? await next() : next
    },
  } as unknown as KafkaConnections
  return {
    connections,
    asked,
    forgotten: () => forgotten,
    count: (name: string) => asked.filter((one) => one.name === name).length,
    last: (name: string) => asked.findLast((one) => one.name === name),
    /** The next answers to this request; a function is called for its own. */
    answers(name: string, ...answers: unknown[]) {
      script.set(name, [...(script.get(name) ?? []), ...answers])
    },
  }
}

function identity({ name, body }: KafkaRequest<unknown>): { member: string; generation: number } {
  const reader = wireReader(body, name)
  reader.string()
  if (name === 'JoinGroup') {
    reader.int32()
    reader.int32()
  }
  const generation = name === 'JoinGroup' || name === 'LeaveGroup' ? -1 : reader.int32()
  if (name === 'LeaveGroup') reader.int32()
  return { generation, member: reader.string() ?? '' }
}

function member(
  group: ReturnType<typeof coordinator>,
  own: { clock?: Clock; instanceId?: string; owned?: number[] } = {},
) {
  const events: string[] = []
  const { owned = [] } = own
  const membership: Membership = createMembership({
    connections: group.connections,
    clock: own.clock ?? manualClock(),
    logger: silentLogger,
    group: 'g',
    topic: 't',
    sessionTimeoutMs: SESSION_MS,
    instanceId: own.instanceId ?? null,
    owned: () => owned,
    partitions: async () => [0, 1],
    onJoined: ({ generation }) => events.push(`joined ${generation}`),
    onAssigned: (partitions) => events.push(`assigned ${[...partitions]}`),
    onLost: (why) => events.push(`lost ${why}`),
    onStalled: () => events.push('stalled'),
    onEnded: (error) => events.push(`ended ${(error as { code: string }).code}`),
  })
  onTestFinished(() => membership.leave())
  membership.start()
  return { membership, events }
}

const reached = async (membership: Membership, state: Membership['state']): Promise<void> =>
  await eventually(() => expect(membership.state).toBe(state), DEADLINE)

test('a new member asks for an id, joins with it, leads and is given its partitions', async () => {
  const group = coordinator()
  group.answers('JoinGroup', { error: 'MEMBER_ID_REQUIRED', generation: -1, leader: '', member: 'm', members: [] })
  const { membership, events } = member(group)
  expect([membership.state, membership.trusted()]).toEqual(['outside', false])
  await reached(membership, 'stable')
  expect(group.asked.filter(({ name }) => name === 'JoinGroup').map((one) => one.member)).toEqual(['', 'm'])
  expect(events).toEqual(['joined 1', 'assigned 0,1'])
  expect([membership.leader(), membership.trusted(), membership.identity().generation]).toEqual([true, true, 1])
})

test('a rebalance is joined, and nothing is lost', async () => {
  const group = coordinator()
  const { membership, events } = member(group)
  await reached(membership, 'stable')
  group.answers('Heartbeat', 'REBALANCE_IN_PROGRESS')
  await eventually(() => expect(events).toEqual(['joined 1', 'assigned 0,1', 'joined 2', 'assigned 0,1']), DEADLINE)
  expect(group.last('JoinGroup')?.member).toBe('m')
})

test('while JoinGroup waits, heartbeats go on beside it, and what they hear ends nothing', async () => {
  const group = coordinator()
  const { membership, events } = member(group)
  await reached(membership, 'stable')
  const join = Promise.withResolvers<unknown>()
  group.answers('JoinGroup', () => join.promise)
  group.answers('Heartbeat', 'REBALANCE_IN_PROGRESS', 'REBALANCE_IN_PROGRESS', 'ILLEGAL_GENERATION')
  const before = group.count('Heartbeat')
  await eventually(() => expect(group.count('Heartbeat')).toBeGreaterThan(before + 4), DEADLINE)
  expect([membership.state, membership.trusted(), group.last('Heartbeat')?.channel]).toEqual([
    'joining',
    true,
    'control',
  ])
  join.resolve({ error: null, generation: 7, leader: 'other', member: 'm', members: [] })
  await reached(membership, 'stable')
  expect(events).toEqual(['joined 1', 'assigned 0,1', 'joined 7', 'assigned 0,1'])
  expect(group.count('JoinGroup')).toBe(2)
})

test('a sync that comes too late joins again, and commits that waited for it go on', async () => {
  const group = coordinator()
  const { membership } = member(group)
  await reached(membership, 'stable')
  const sync = Promise.withResolvers<unknown>()
  group.answers('SyncGroup', () => sync.promise)
  membership.rejoin()
  await reached(membership, 'syncing')
  let released = false
  void membership.synced().then(() => {
    released = true
  })
  sync.resolve({ error: 'REBALANCE_IN_PROGRESS', assignment: Buffer.alloc(0) })
  await eventually(
    () => expect([released, membership.state, group.count('JoinGroup')]).toEqual([true, 'stable', 3]),
    DEADLINE,
  )
})

test.each([
  ['UNKNOWN_MEMBER_ID', ''],
  ['ILLEGAL_GENERATION', 'm'],
] as const)('a member that hears %s has lost everything, and joins again', async (error, id) => {
  const group = coordinator()
  const { membership, events } = member(group)
  await reached(membership, 'stable')
  group.answers('Heartbeat', error)
  await eventually(() => expect(events.slice(2)).toEqual([`lost ${error}`, 'joined 2', 'assigned 0,1']), DEADLINE)
  expect(group.last('JoinGroup')?.member).toBe(id)
  expect(membership.state).toBe('stable')
})

test('an expelled member does not wait for the answer to its JoinGroup, and ignores it', async () => {
  const group = coordinator()
  const { membership, events } = member(group)
  await reached(membership, 'stable')
  const join = Promise.withResolvers<unknown>()
  group.answers('JoinGroup', () => join.promise)
  membership.rejoin()
  await reached(membership, 'joining')
  group.answers('Heartbeat', 'UNKNOWN_MEMBER_ID')
  await reached(membership, 'stable')
  join.resolve({ error: null, generation: 99, leader: 'm', member: 'm', members: [] })
  await membership.confirm()
  expect(events.slice(2)).toEqual(['lost UNKNOWN_MEMBER_ID', 'joined 2', 'assigned 0,1'])
})

test('another process with the same instance id ends the membership', async () => {
  const group = coordinator()
  const { membership, events } = member(group, { instanceId: 'i' })
  await reached(membership, 'stable')
  group.answers('Heartbeat', 'FENCED_INSTANCE_ID')
  await reached(membership, 'left')
  expect(events.slice(2)).toEqual(['lost FENCED_INSTANCE_ID', 'ended instance_fenced'])
  expect(group.count('JoinGroup')).toBe(1)
})

test.each([
  ['has and will drain it: it joins again when it has', [0, 1], 1],
  ['does not have, as the process before it died: it joins again at once', [], 2],
] as const)('a static member that has to give back what it %s', async (_, owned, joins) => {
  const group = coordinator()
  group.answers('SyncGroup', { error: null, assignment: encodeAssignment('t', { partitions: [0], released: [1] }) })
  const { membership, events } = member(group, { instanceId: 'i', owned: [...owned] })
  await eventually(() => expect(events.length).toBe(2 * joins), DEADLINE)
  await membership.confirm()
  expect([group.count('JoinGroup'), events[1], membership.state]).toEqual([joins, 'assigned 0', 'stable'])
})

test('a group that somebody else uses in another way ends it, too', async () => {
  const group = coordinator()
  group.answers('JoinGroup', {
    error: 'INCONSISTENT_GROUP_PROTOCOL',
    generation: -1,
    leader: '',
    member: '',
    members: [],
  })
  const { membership, events } = member(group)
  await reached(membership, 'left')
  expect(events).toEqual(['ended kafka_refused'])
})

test('a coordinator that moves is looked for; the membership stays', async () => {
  const group = coordinator()
  group.answers('JoinGroup', () => {
    throw retryable('kafka_unavailable', 'gone')
  })
  const { membership, events } = member(group)
  await reached(membership, 'stable')
  const before = group.forgotten()
  expect(before).toBeGreaterThan(0)
  group.answers('Heartbeat', 'NOT_COORDINATOR', 'COORDINATOR_LOAD_IN_PROGRESS')
  await eventually(() => expect(group.forgotten()).toBe(before + 2), DEADLINE)
  await membership.confirm()
  // the time that the clock jumped over between two attempts counts as a stall
  expect(events.filter((event) => event !== 'stalled')).toEqual(['joined 1', 'assigned 0,1'])
})

test('after a stall as long as the session nothing is trusted until a heartbeat sent later is answered', async () => {
  const group = coordinator()
  const clock = manualClock()
  const { membership, events } = member(group, { clock })
  await reached(membership, 'stable')
  const [early, late] = [Promise.withResolvers<null>(), Promise.withResolvers<null>()]
  group.answers(
    'Heartbeat',
    () => early.promise,
    () => late.promise,
  )
  const before = group.count('Heartbeat')
  await eventually(() => expect(group.count('Heartbeat')).toBe(before + 1), DEADLINE)
  clock.advance(SESSION_MS + 1)
  expect(membership.trusted()).toBe(false)
  early.resolve(null)
  await eventually(() => expect(group.count('Heartbeat')).toBe(before + 2), DEADLINE)
  expect(membership.trusted()).toBe(false)
  late.resolve(null)
  await membership.trust()
  expect([membership.trusted(), events.at(-1)]).toEqual([true, 'stalled'])
})

test('without an answer for a session it is not trusted either', async () => {
  const group = coordinator()
  const clock = manualClock()
  const { membership } = member(group, { clock })
  await reached(membership, 'stable')
  const silence = Promise.withResolvers<null>()
  group.answers('Heartbeat', () => silence.promise)
  await eventually(() => {
    clock.advance(SESSION_MS / 4)
    expect(membership.trusted()).toBe(false)
  }, DEADLINE)
  silence.resolve(null)
  await membership.trust()
  expect(membership.trusted()).toBe(true)
})

test('a dynamic member says that it leaves, a static one does not', async () => {
  for (const [own, leaves] of [
    [{}, 1],
    [{ instanceId: 'i' }, 0],
  ] as const) {
    const group = coordinator()
    const { membership } = member(group, own)
    await reached(membership, 'stable')
    await membership.leave()
    expect([membership.state, membership.trusted(), group.count('LeaveGroup')]).toEqual(['left', false, leaves])
    expect(membership.identity().generation).toBe(-1)
  }
})
