import type { Producer } from 'kafkajs'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { createLogReader, type LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { type KafkaBroker, type KafkaCluster, startKafkaCluster } from '../support/kafka-broker.ts'
import { uniqueName } from '../support/unique-name.ts'

const DEADLINE = { deadlineMs: 60_000 }
/** For what comes, as long as anybody waits for it. */
const soon = () => AbortSignal.timeout(DEADLINE.deadlineMs)

let cluster: KafkaCluster
beforeAll(async () => {
  cluster = await startKafkaCluster({ brokers: 3 })
})
afterAll(() => cluster?.stop())

const client = () => createKafkaClient({ brokers: cluster.addresses }, 'log-reader-test', silentLogger).native

function connect(): KafkaConnections {
  const config = { brokers: cluster.addresses }
  const connections = createKafkaConnections({
    config,
    clientId: 'log-reader-test',
    logger: silentLogger,
    clock: systemClock,
  })
  onTestFinished(() => connections.close())
  return connections
}

function readerOf(connections: KafkaConnections, fetchBytes?: number): LogReader {
  return createLogReader({ connections, clock: systemClock, ...(fetchBytes === undefined ? {} : { fetchBytes }) })
}

/** One partition, led by the first of the replicas. */
async function createTopic(replicas: number[] = [1], topic = uniqueName('log')): Promise<string> {
  const admin = client().admin()
  await admin.connect()
  await admin.createTopics({
    topics: [{ topic, replicaAssignment: [{ partition: 0, replicas }] }],
    waitForLeaders: true,
  })
  await admin.disconnect()
  return topic
}

async function deleteBelow(topic: string, offset: number): Promise<void> {
  const admin = client().admin()
  await admin.connect()
  // kafkajs knows the leader only of topics that it was asked for
  await admin.fetchTopicOffsets(topic)
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(offset) }] })
  await admin.disconnect()
}

async function withProducer<T>(
  work: (producer: Producer) => Promise<T>,
  options: { transactionalId?: string } = {},
): Promise<T> {
  const producer = client().producer({
    ...options,
    idempotent: options.transactionalId !== undefined,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  try {
    return await work(producer)
  } finally {
    await producer.disconnect()
  }
}

const messages = (values: readonly string[]) => values.map((value) => ({ partition: 0, value }))
const numbered = (prefix: string, count: number) => Array.from({ length: count }, (_, at) => `${prefix}-${at}`)

/** Values with the offset of each, and markers; checks that everything comes in order. */
async function collect(sets: AsyncIterable<RecordSet>, onSet: (set: RecordSet) => Promise<void> = async () => {}) {
  const records: (readonly [offset: number, value: string])[] = []
  const markers: string[] = []
  let sets_ = 0
  let next = 0
  for await (const set of sets) {
    sets_++
    expect(set.offsets[0] ?? next).toBeGreaterThanOrEqual(next)
    for (let row = 0; row < set.length; row++) {
      records.push([set.offsets[row] as number, String(sliceAt(set.values, row))])
    }
    for (const { kind, offset } of set.markers) markers.push(`${kind} ${offset}`)
    expect(set.nextOffset).toBeGreaterThan(next)
    next = set.nextOffset
    await onSet(set)
  }
  return { records, markers, sets: sets_, next, values: records.map(([, value]) => value) }
}

test('committed, aborted and compressed transactions, in fetches smaller than a batch', async () => {
  const topic = await createTopic()
  const committed: string[] = []
  const all: string[] = []
  await withProducer(
    async (producer) => {
      // none, gzip, snappy, lz4, zstd
      for (const compression of [0, 1, 2, 3, 4]) {
        for (const outcome of ['commit', 'abort'] as const) {
          const values = numbered(`${outcome}-${compression}`, 40)
          const transaction = await producer.transaction()
          await transaction.send({ topic, compression, messages: messages(values) })
          await transaction[outcome]()
          all.push(...values)
          if (outcome === 'commit') committed.push(...values)
        }
      }
    },
    { transactionalId: uniqueName('transaction') },
  )
  const reader = readerOf(connect(), 200)
  // ten transactions of 40 records and a marker; the last marker is written after the producer has been answered
  await reader.waitForEnd(topic, 0, 409, soon())
  expect(await reader.range(topic, 0)).toEqual({ start: 0, end: 410 })

  const seen = await collect(reader.read(topic, 0, 0, 410, { isolation: 'read_committed' }))
  expect(seen.values).toEqual(committed)
  expect(seen.markers).toEqual(
    Array.from({ length: 10 }, (_, at) => `${at % 2 === 0 ? 'commit' : 'abort'} ${at * 41 + 40}`),
  )
  expect(seen.next).toBe(410)
  const everything = await collect(reader.read(topic, 0, 0, 1_000))
  expect(everything.values).toEqual(all)
  expect(everything.sets).toBeGreaterThan(5)

  const middle = await collect(reader.read(topic, 0, 30, 45))
  expect(middle.records.map(([offset]) => offset)).toEqual(
    [...numbered('', 10).keys()].map((at) => at + 30).concat([41, 42, 43, 44]),
  )
  expect(middle.markers).toEqual(['commit 40'])
  expect(middle.next).toBe(45)
  expect((await collect(reader.read(topic, 0, 410, 1_000))).sets).toBe(0)
  expect((await collect(reader.read(topic, 0, 500, 1_000))).sets).toBe(0)
})

test('read_committed ends before an open transaction', async () => {
  const topic = await createTopic()
  const reader = readerOf(connect())
  await withProducer(
    async (producer) => {
      const first = await producer.transaction()
      await first.send({ topic, messages: messages(['a', 'b']) })
      await first.commit()
      await reader.waitForEnd(topic, 0, 2, soon())
      const open = await producer.transaction()
      await open.send({ topic, messages: messages(['c']) })
      expect(await reader.range(topic, 0)).toEqual({ start: 0, end: 4 })
      expect(await reader.range(topic, 0, 'read_committed')).toEqual({ start: 0, end: 3 })
      expect((await collect(reader.read(topic, 0, 0, 10, { isolation: 'read_committed' }))).values).toEqual(['a', 'b'])
      expect((await collect(reader.read(topic, 0, 0, 10))).values).toEqual(['a', 'b', 'c'])
      await open.abort()
    },
    { transactionalId: uniqueName('transaction') },
  )
})

test('what the log has deleted is a lost position; waiting for the end ends with a record, or when it is given up', async () => {
  const topic = await createTopic()
  const reader = readerOf(connect())
  const waiting = reader.waitForEnd(topic, 0, 19, soon())
  await withProducer((producer) => producer.send({ topic, messages: messages(numbered('v', 20)) }))
  expect(await waiting).toEqual({ start: 0, end: 20 })
  await deleteBelow(topic, 12)
  await expect(collect(reader.read(topic, 0, 11, 20))).rejects.toMatchObject({ code: 'position_lost', fate: 'crash' })
  expect((await collect(reader.read(topic, 0, 12, 20))).values).toEqual(numbered('v', 20).slice(12))
  await expect(reader.waitForEnd(topic, 0, 20, AbortSignal.timeout(200))).rejects.toMatchObject({ fate: 'retry' })
})

test('a topic that was deleted and made again has another id', async () => {
  const connections = connect()
  const topic = await createTopic()
  // any broker may be asked, and each hears of it in its own time
  const idOf = async (): Promise<string> => {
    const id = (await connections.topics([topic])).get(topic)?.id
    expect(id).toMatch(/^[0-9a-f-]{36}$/)
    return id ?? ''
  }
  const before = await eventually(idOf, DEADLINE)
  const admin = client().admin()
  await admin.connect()
  await admin.deleteTopics({ topics: [topic] })
  await eventually(async () => expect((await connections.topics([topic])).size).toBe(0), DEADLINE)
  expect(connections.leaderOf(topic, 0)).toBe(null)
  await admin.disconnect()
  await createTopic([1], topic)
  await eventually(async () => expect(await idOf()).not.toBe(before), DEADLINE)
})

function brokerOf(node: number | null): KafkaBroker {
  const broker = cluster.brokers.find(({ node: id }) => id === node)
  if (broker === undefined) throw new Error(`no broker ${node}`)
  return broker
}

const openSockets = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length

test('the leader is killed while it is read: another one goes on, what had no other waits, no socket of it stays', {
  timeout: 400_000,
}, async () => {
  const connections = connect()
  const [topic, alone] = [await createTopic([2, 1, 3]), await createTopic([2])]
  const values = numbered('value', 3_000)
  await withProducer(async (producer) => {
    await producer.send({ topic: alone, messages: messages(['a', 'b']) })
    for (let at = 0; at < values.length; at += 100) {
      await producer.send({ topic, acks: -1, messages: messages(values.slice(at, at + 100)) })
    }
  })
  const reader = readerOf(connections, 2_000)
  const before = openSockets()
  // another one is in sync and can lead it
  await eventually(async () => {
    const known = await connections.topics([topic, alone])
    expect(known.get(topic)?.partitions[0]?.inSync).toHaveLength(3)
    expect(connections.leaderOf(alone, 0)).not.toBe(null)
  }, DEADLINE)
  const killed = brokerOf(connections.leaderOf(alone, 0))
  const seen = await collect(reader.read(topic, 0, 0, 3_000), async ({ nextOffset }) => {
    if (nextOffset >= 500) await killed.kill()
  })
  expect(seen.values).toEqual(values)
  expect(connections.leaderOf(topic, 0)).not.toBe(killed.node)
  // one for what any broker answers and one for each leader that lives
  await eventually(() => expect(openSockets() - before).toBeLessThanOrEqual(2), DEADLINE)

  const group = uniqueName('group')
  await eventually(async () => expect(await connections.coordinator('group', group)).not.toBe(killed.node), DEADLINE)

  const reading = collect(reader.read(alone, 0, 0, 2))
  await eventually(() => expect(connections.leaderOf(alone, 0)).toBe(null), DEADLINE)
  const given = reader.read(alone, 0, 0, 2, { signal: AbortSignal.timeout(100) })
  await expect(collect(given)).rejects.toMatchObject({ fate: 'retry' })
  await killed.start()
  expect((await reading).values).toEqual(['a', 'b'])
  await connections.close()
  await eventually(() => expect(openSockets()).toBeLessThanOrEqual(before), DEADLINE)
})
