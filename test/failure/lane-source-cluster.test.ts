import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { type KafkaCluster, startKafkaCluster } from '../support/kafka-broker.ts'
import {
  consume,
  handOuts,
  type RunningSource,
  type SourceSettings,
  stands,
  testTopic,
} from '../support/lane-consumers.ts'

const DEADLINE = { deadlineMs: 90_000 }
const TEST = { timeout: 600_000 }
const PARTITIONS = 6
/** The pauses of a broker that is killed on a busy machine are not to count as the death of a member. */
const SESSION_MS = 30_000

let cluster: KafkaCluster
beforeAll(async () => {
  cluster = await startKafkaCluster({ brokers: 3, settings: { 'min.insync.replicas': '2' } })
})
afterAll(async () => await cluster.stop())

/** A topic on three brokers, two members that read it, and who writes to it. */
async function twoMembers() {
  const topic = await testTopic(cluster.addresses, { partitions: PARTITIONS, replicas: 3 })
  const settings: SourceSettings = {
    brokers: cluster.addresses,
    group: topic.group,
    topic: topic.topic,
    sessionTimeoutMs: SESSION_MS,
    metadataMaxAgeMs: 500,
  }
  const ledger = handOuts()
  const members = [await consume('a', ledger, settings), await consume('b', ledger, settings)]
  const shares = (): number[] => members.map(({ source }) => source.positions().size)
  await eventually(() => expect(shares()).toEqual([3, 3]), DEADLINE)
  const feed = topic.load(10)
  const passes = async (rows: number): Promise<void> => {
    const from = ledger.count
    await eventually(() => expect(ledger.count).toBeGreaterThan(from + rows), DEADLINE)
  }
  await passes(300)
  /** Reads to the end, and stops: each record was handed out once, in order, and is committed. */
  const account = async (): Promise<void> => {
    await feed.stop()
    // a broker that has just come back may not know yet what it leads
    const ends = await eventually(() => topic.ends(), DEADLINE)
    await eventually(() => expect(stands(ledger)).toEqual(ends), DEADLINE)
    await Promise.all(members.map((member) => member.stop()))
    expect(ledger.wrong).toEqual([])
    await eventually(async () => {
      const committed = [...(await topic.committed())].sort(([a], [b]) => a - b).map(([, { offset }]) => offset)
      expect(committed).toEqual(ends)
    }, DEADLINE)
  }
  return { ...topic, members, ledger, passes, shares, account }
}

const lost = (members: readonly RunningSource[]): string[] =>
  members.flatMap(({ events }) => events.filter((event) => event.startsWith('lost')))

async function killAndRestart(node: number, meanwhile: () => Promise<void>): Promise<void> {
  const broker = cluster.brokers[node - 1]
  if (broker === undefined) throw new Error(`no broker ${node}`)
  await broker.kill()
  try {
    await meanwhile()
  } finally {
    await broker.start()
  }
}

test('leaders move when a broker dies: every record comes once, in order', TEST, async () => {
  const { admin, topic, members, passes, account } = await twoMembers()
  const [metadata] = (await admin.fetchTopicMetadata({ topics: [topic] })).topics
  const leader = metadata?.partitions[0]?.leader ?? 0
  await killAndRestart(leader, () => passes(1_500))
  await passes(300)
  await account()
  expect(lost(members)).toEqual([])
})

test('the coordinator of the group dies: its members stay, commit, and rebalance with the next one', TEST, async () => {
  const { group, members, ledger, passes, account } = await twoMembers()
  const config = { brokers: [...cluster.addresses] }
  const connections = createKafkaConnections({ config, clientId: 'test', logger: silentLogger, clock: systemClock })
  onTestFinished(() => connections.close())
  const coordinator = await connections.coordinator('group', group)
  await killAndRestart(coordinator, async () => {
    await passes(1_500)
    const [a] = members
    expect(await a?.source.confirm([...a.source.positions().keys()][0] ?? -1)).toBe(true)
  })
  expect(lost(members)).toEqual([])
  const opened = ledger.count
  await members[1]?.stop()
  await eventually(() => expect(members[0]?.source.positions().size).toBe(PARTITIONS), DEADLINE)
  await passes(300)
  expect(ledger.count).toBeGreaterThan(opened)
  await account()
})

test('partitions that are added under load are given away and read from their first record', TEST, async () => {
  const { admin, topic, native, shares, ledger, members, account } = await twoMembers()
  await admin.createPartitions({ topicPartitions: [{ topic, count: 10 }] })
  await eventually(() => expect(shares()).toEqual([5, 5]), DEADLINE)
  // kafkajs leaves out, without a word, what goes to partitions that it does not know yet
  const producer = native.producer()
  await producer.connect()
  for (let partition = PARTITIONS; partition < 10; partition++) {
    await producer.send({ topic, messages: [{ partition, value: 'x' }] })
  }
  await producer.disconnect()
  await eventually(() => expect(ledger.next.size).toBe(10), DEADLINE)
  expect(lost(members)).toEqual([])
  await account()
})
