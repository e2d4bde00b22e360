import { expect, inject, test } from 'vitest'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import type { MillraceError } from '../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import { eventually } from '../support/eventually.ts'
import {
  consume,
  handOuts,
  laneSource,
  leadersOf,
  note,
  type SourceSettings,
  testTopic,
} from '../support/lane-consumers.ts'

const PARTITIONS = 6
const DEADLINE = { deadlineMs: 120_000 }
/** Nobody here is given up for being slow. */
const SESSION_MS = 60_000
const ALL = { maxRows: 10_000, maxBytes: 100_000_000, lingerMs: 0 }
const brokers = (): readonly string[] => readConfig(CONNECTIONS, inject('stack').env).kafkaBrokers

async function topicWith(partitions = PARTITIONS, config: Readonly<Record<string, string>> = {}) {
  const topic = await testTopic(brokers(), { partitions, config })
  const { group, topic: name } = topic
  const settings: SourceSettings = { brokers: brokers(), group, topic: name, sessionTimeoutMs: SESSION_MS }
  return { ...topic, settings }
}

test('members come and go at load: nothing twice, nothing skipped, and what stays is not disturbed', async () => {
  const { settings, load, committed } = await topicWith()
  const ledger = handOuts()
  const feed = load(20)
  const a = await consume('a', ledger, settings)
  await eventually(() => expect(a.source.positions().size).toBe(6), DEADLINE)
  const b = await consume('b', ledger, settings)
  await eventually(() => expect(b.source.positions().size).toBe(3), DEADLINE)
  const c = await consume('c', ledger, settings)
  await eventually(() => expect([a, b, c].map(({ source }) => source.positions().size)).toEqual([2, 2, 2]), DEADLINE)
  const kept = [...a.source.positions().keys()]
  await b.stop()
  await eventually(() => expect(a.source.positions().size + c.source.positions().size).toBe(6), DEADLINE)
  const written = await feed.stop()
  await eventually(() => expect([...ledger.next.values()]).toEqual(Array(6).fill(written)), DEADLINE)
  await Promise.all([a.stop(), c.stop()])

  expect(ledger.wrong).toEqual([])
  expect(ledger.count).toBe(written * 6)
  expect([...(await committed()).values()].map(({ offset }) => offset)).toEqual(Array(6).fill(written))
  for (const partition of kept) {
    // opened once, and closed when it stopped
    const own = a.events.filter((event) => new RegExp(`^(open|close) ${partition}\\b`).test(event))
    expect(own).toEqual([`open ${partition}@0`, `close ${partition} drained`])
  }
})

test('where a new group begins is decided once, and committed before anything is read', async () => {
  const { settings, fill, committed } = await topicWith(2)
  await fill(10)
  const first = await laneSource('a', { ...settings, start: 'latest' })
  await eventually(() => expect(first.source.positions().size).toBe(2), DEADLINE)
  expect([...(await committed()).values()]).toEqual(Array(2).fill({ offset: 10, metadata: '' }))
  await first.stop()
  await fill(5)
  const ledger = handOuts()
  for (const partition of [0, 1]) ledger.next.set(partition, 10)
  const second = await consume('b', ledger, { ...settings, start: 'earliest' })
  await eventually(() => expect([...ledger.next.values()]).toEqual([15, 15]), DEADLINE)
  expect(second.events.filter((event) => event.startsWith('open')).sort()).toEqual(['open 0@10', 'open 1@10'])
  expect(ledger.wrong).toEqual([])
})

test('a partition that is added later is read from its first record, wherever the group began', async () => {
  const { settings, fill, admin, producer, topic } = await topicWith(1)
  await fill(10)
  const latest = { ...settings, start: 'latest', metadataMaxAgeMs: 100 } as const
  const first = await laneSource('a', latest)
  await eventually(() => expect(first.events).toContain('open 0@10'), DEADLINE)
  await first.stop()
  await admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] })
  await leadersOf(admin, topic, 2)
  await producer.send({ topic, messages: [{ partition: 1, value: 'written before anybody reads it' }] })
  const second = await laneSource('b', latest)
  await eventually(() => expect(second.events).toEqual(expect.arrayContaining(['open 0@10', 'open 1@0'])), DEADLINE)
})

test('a new group may begin at a time', async () => {
  const { settings, producer, topic } = await topicWith(1)
  const messages = [1_000, 2_000, 3_000].map((timestamp) => ({ value: 'x', timestamp: `${timestamp}`, partition: 0 }))
  await producer.send({ topic, messages })
  const at = await laneSource('a', { ...settings, start: 1_500 })
  await eventually(() => expect(at.events).toContain('open 0@1'), DEADLINE)
  const behind = await laneSource('b', { ...settings, group: `${settings.group}-2`, start: 9_000 })
  await eventually(() => expect(behind.events).toContain('open 0@3'), DEADLINE)
})

test('records that were deleted before they were read end the source with the command that goes on', async () => {
  const { settings, fill, admin, topic, group } = await topicWith(1)
  await fill(10)
  const ledger = handOuts()
  const first = await consume('a', ledger, settings)
  await eventually(() => expect(ledger.count).toBe(10), DEADLINE)
  await first.stop()
  await fill(10)
  // learns who leads it
  await admin.fetchTopicOffsets(topic)
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '15' }] })
  const second = await consume('b', ledger, settings)
  const error = (await second.ended) as MillraceError
  expect([error.fate, error.code]).toEqual(['crash', 'retention_lost'])
  expect(error.message).toContain(`${topic}/0: the log begins at 15; offsets 10 to 14 were deleted`)
  expect(error.message).toContain(`millrace positions <pipeline folder> --group ${group} set --partition 0 --to 15`)
  await second.stop()

  const ranges: object[] = []
  const third = await consume('c', ledger, {
    ...settings,
    async onRetentionLost(range) {
      ranges.push(range)
      ledger.next.set(0, range.to)
      return range.to
    },
  })
  await eventually(() => expect(ledger.next.get(0)).toBe(20), DEADLINE)
  expect(ranges).toEqual([{ partition: 0, from: 10, to: 15 }])
  expect(ledger.wrong).toEqual([])
  await third.stop()
})

test('a position above the end of the log ends the source', async () => {
  const { settings, fill, admin, topic, group } = await topicWith(1)
  await fill(10)
  await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '700' }] })
  const { ended } = await consume('a', handOuts(), settings)
  const error = (await ended) as MillraceError
  expect([error.fate, error.code]).toEqual(['crash', 'position_lost'])
  expect(error.message).toContain(`${topic}/0: the log ends at 10, below the position 700`)
})

test('a topic that was deleted and made again ends the source', async () => {
  const { settings, fill, admin, topic } = await topicWith(2)
  await fill(10)
  const { ended, source } = await consume('a', handOuts(), settings)
  await eventually(() => expect(source.positions().get(0)?.settled).toBe(10), DEADLINE)
  await admin.deleteTopics({ topics: [topic] })
  await eventually(async () => expect(await admin.listTopics()).not.toContain(topic), DEADLINE)
  await admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: false })
  const error = (await ended) as MillraceError
  expect([error.fate, error.code]).toEqual(['crash', 'topic_recreated'])
})

test('a full partition is not fetched; the membership holds, and all of it comes when there is room', async () => {
  const { settings, fill } = await topicWith(2)
  const rows = 6_000
  for (let round = 0; round < 6; round++) await fill(rows / 6, 1_000)
  const maxLaneBytes = 262_144
  const { source, events } = await laneSource('a', { ...settings, maxLaneBytes, maxBatchesOut: 1_000 })
  const out: ColumnBatch[] = []
  const ledger = handOuts()
  const takeAll = async (): Promise<void> => {
    for (const batch of await source.take(ALL)) {
      note(ledger, 'a', batch)
      out.push(batch)
    }
  }
  await eventually(() => expect(source.positions().size).toBe(2), DEADLINE)
  await takeAll()
  // it is still a member, and commits, while nothing more is fetched
  expect(await source.confirm(0)).toBe(true)
  expect(await source.commit(0, 0, 'full')).toBe(true)
  const fetchBytes = 1_048_576 * 1.2
  expect(source.heldBytes()).toBeLessThan(2 * (maxLaneBytes + fetchBytes))
  expect(ledger.count).toBeLessThan(rows)
  expect(events.filter((event) => event.startsWith('joined'))).toHaveLength(1)
  while (ledger.count < rows * 2) {
    for (const batch of out.splice(0)) source.settle(batch)
    await takeAll()
    expect(source.heldBytes()).toBeLessThan(2 * (maxLaneBytes + fetchBytes))
  }
  for (const batch of out) source.settle(batch)
  expect(ledger.wrong).toEqual([])
  expect([source.heldBytes(), [...source.positions().values()].map(({ settled }) => settled)]).toEqual([
    0,
    [rows, rows],
  ])
})

test('transactions: what was aborted is left out, markers move the position', async () => {
  const { settings, native, topic } = await topicWith(1)
  const producer = native.producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: topic })
  await producer.connect()
  for (const commits of [true, false, true]) {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ partition: 0, value: `${commits}` }] })
    await (commits ? transaction.commit() : transaction.abort())
  }
  await producer.disconnect()
  const { source } = await laneSource('a', settings)
  const offsets: number[] = []
  while (offsets.length < 2) {
    for (const batch of await source.take(ALL)) {
      offsets.push(...batch.offsets)
      source.settle(batch)
    }
  }
  expect(offsets).toEqual([0, 4])
  await eventually(() => expect(source.positions().get(0)).toEqual({ settled: 6, end: 6 }), DEADLINE)
  expect(source.stuckSince()).toBeNull()
})

test('a static member that restarts within its session takes over without a rebalance', async () => {
  const { settings, fill } = await topicWith(4)
  const ledger = handOuts()
  const other = await consume('other', ledger, { ...settings, instanceId: 'other' })
  const first = await consume('a', ledger, { ...settings, instanceId: 'a' })
  await eventually(() => expect(first.source.positions().size).toBe(2), DEADLINE)
  await eventually(() => expect(other.source.positions().size).toBe(2), DEADLINE)
  await fill(100)
  await eventually(() => expect(ledger.count).toBe(400), DEADLINE)
  const own = [...first.source.positions().keys()].sort()
  await first.stop()
  await fill(100)
  const joins = other.events.length
  const second = await consume('a again', ledger, { ...settings, instanceId: 'a' })
  await eventually(() => expect(ledger.count).toBe(800), DEADLINE)
  expect([...second.source.positions().keys()].sort()).toEqual(own)
  expect(other.events).toHaveLength(joins)
  expect(ledger.wrong).toEqual([])
})

test('what a static member did not give back before it died, the one after it gives to the others', async () => {
  const { settings, fill } = await topicWith(4)
  await fill(10)
  const first = await laneSource('a', { ...settings, instanceId: 'a', drainTimeoutMs: 100_000 })
  const out = new Set<number>()
  // never settled: none of them can be drained
  while (out.size < 4) for (const { partition } of await first.source.take(ALL)) out.add(partition)
  const other = await laneSource('other', settings)
  await eventually(() => expect(first.events.filter((event) => event.startsWith('joined'))).toHaveLength(2), DEADLINE)
  const second = await laneSource('a again', { ...settings, instanceId: 'a' })
  const has = ({ source }: typeof second) => expect(source.positions().size).toBe(2)
  await eventually(() => [second, other].map(has), DEADLINE)
})

test('a second process with an instance id that is in use fences the first', async () => {
  const { settings } = await topicWith(1)
  const first = await consume('a', handOuts(), { ...settings, instanceId: 'i' })
  await eventually(() => expect(first.source.positions().size).toBe(1), DEADLINE)
  await laneSource('b', { ...settings, instanceId: 'i' })
  const error = (await first.ended) as MillraceError
  expect([error.fate, error.code]).toEqual(['crash', 'instance_fenced'])
})

test('rewound, paused and resumed, a partition hands out the same records again, and only its own', async () => {
  const { settings, fill } = await topicWith(2)
  await fill(10)
  // what is left out when it stops is given up
  const { source } = await laneSource('a', { ...settings, drainTimeoutMs: 100 })
  const batches: ColumnBatch[] = []
  while (batches.length < 2) batches.push(...(await source.take(ALL)))
  const [zero, one] = [
    batches.find(({ partition }) => partition === 0),
    batches.find(({ partition }) => partition === 1),
  ]
  if (zero === undefined || one === undefined) throw new Error('not one batch of each')
  source.rewind(0, 4, 0)
  expect([source.owns(zero), source.owns(one)]).toEqual([false, true])
  source.pause(0)
  await fill(1)
  const [next] = await source.take(ALL)
  expect([next?.partition, next?.offset(0)]).toEqual([1, 10])
  source.resume(0)
  const [again, more] = [(await source.take(ALL))[0], (await source.take(ALL))[0]]
  expect([again?.partition, again?.offset(0), again?.length]).toEqual([0, 4, 6])
  expect([more?.partition, more?.offset(0)]).toEqual([0, 10])
  source.settle(zero)
  expect(source.positions().get(0)?.settled).toBe(4)
})

test('an explicit commit carries its metadata, which the source then leaves alone', async () => {
  const { settings, fill, committed } = await topicWith(1)
  await fill(10)
  const opened: object[] = []
  const hooks = {
    open: async (_: number, position: { offset: number; metadata: string }) => {
      opened.push(position)
      return position.offset
    },
    metadata: () => null,
  }
  const first = await laneSource('a', { ...settings, hooks })
  const [batch] = await first.source.take({ ...ALL, maxRows: 6 })
  if (batch === undefined) throw new Error('nothing taken')
  expect(await first.source.commit(0, 0, 'sealed 0-6')).toBe(true)
  first.source.settle(batch)
  expect(await first.source.confirm(0)).toBe(true)
  await first.stop()
  expect((await committed()).get(0)).toEqual({ offset: 0, metadata: 'sealed 0-6' })
  expect(await first.source.commit(0, 6, '')).toBe(false)
  expect(await first.source.confirm(0)).toBe(false)
  await laneSource('b', { ...settings, hooks })
  await eventually(
    () =>
      expect(opened).toEqual([
        { offset: 0, metadata: '' },
        { offset: 0, metadata: 'sealed 0-6' },
      ]),
    DEADLINE,
  )
})
