import kafkajs, { type Admin } from 'kafkajs'
import { backoffMs } from '../backoff.ts'
import { systemClock } from '../clock.ts'
import { retryable } from '../errors.ts'
import type { KafkaConnections, PartitionMetadata } from './connections/connections.ts'
import { createKafkaConnections } from './connections/kafka-connections.ts'
import type { KafkaClient } from './kafka-client.ts'
import { kafkaError } from './kafka-errors.ts'
import type { BrokerError } from './protocol/error-codes.ts'
import { listOffsetsRequest } from './protocol/list-offsets.ts'

export interface NewTopic {
  readonly name: string
  readonly partitions: number
  /** 1 is refused by `topics` unless `allowSingleReplica` is set. */
  readonly replicas: number
  readonly config: Readonly<Record<string, string>>
}

export interface PartitionRange {
  readonly partition: number
  /** First offset that the log still has. */
  readonly low: number
  /** Offset that the next record will get. */
  readonly high: number
}

export interface KafkaAdmin {
  /** Of each of these topics that exists, by number from 0. */
  partitions(topics: readonly string[]): Promise<ReadonlyMap<string, readonly PartitionMetadata[]>>
  /** Partition count of each of these topics that exists. */
  partitionCounts(topics: readonly string[]): Promise<ReadonlyMap<string, number>>
  /**
   * True when the topic was made, false when it was there; every partition has a leader that answers for it. Rejects with
   * `leader_missing` (retry) when one does not come.
   */
  createTopic(topic: NewTopic): Promise<boolean>
  deleteTopic(topic: string): Promise<void>
  /** Up to `total`, if it has fewer. Resolves, like `createTopic`, when every partition has its leader. */
  addPartitions(topic: string, total: number): Promise<void>
  topicConfig(topic: string, names: readonly string[]): Promise<ReadonlyMap<string, string>>
  alterTopicConfig(topic: string, config: Readonly<Record<string, string>>): Promise<void>
  ranges(topic: string): Promise<readonly PartitionRange[]>
  /** Per partition the first offset whose timestamp is at or after the time (epoch ms); the end where there is none. */
  offsetsAt(topic: string, time: number): Promise<ReadonlyMap<number, number>>
  /** Next offset per partition; null where the group has committed none. */
  committed(group: string, topic: string): Promise<ReadonlyMap<number, number | null>>
  /** Client ids of the processes that are in the group now; none when there is no such group. */
  members(group: string): Promise<readonly string[]>
  brokerCount(): Promise<number>
}

export async function startKafkaAdmin(
  client: KafkaClient,
): Promise<{ readonly value: KafkaAdmin; stop(): Promise<void> }> {
  const admin = client.native.admin()
  const call = async <T>(what: string, request: () => Promise<T>): Promise<T> => {
    try {
      return await request()
    } catch (error) {
      throw kafkaError(error, what)
    }
  }
  await call('connecting to Kafka', () => admin.connect())
  // kafkajs cannot ask for a topic that may not exist, nor list topics while any partition has no leader
  const { config, clientId, logger } = client
  const connections = createKafkaConnections({ config, clientId, logger, clock: systemClock })
  return {
    value: kafkaAdmin(admin, connections, call),
    async stop() {
      await connections.close()
      await admin.disconnect()
    },
  }
}

const LEADERS_WITHIN_MS = 15_000
const BACKOFF = { baseMs: 20, maxMs: 1_000 }

/** What a broker says that is to lead a partition, and has not heard so. */
const NOT_YET: ReadonlySet<BrokerError | null> = new Set([
  'NOT_LEADER_OR_FOLLOWER',
  'LEADER_NOT_AVAILABLE',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'UNKNOWN_LEADER_EPOCH',
  'FENCED_LEADER_EPOCH',
  'OFFSET_NOT_AVAILABLE',
])

async function leadersOf(connections: KafkaConnections, topic: string, atLeast: number): Promise<void> {
  const deadline = systemClock.monotonic() + LEADERS_WITHIN_MS
  for (let attempt = 0; ; attempt++) {
    const states = (await connections.topics([topic])).get(topic)?.partitions ?? []
    const led = states.filter(({ leader }) => leader >= 0).length
    if (led >= atLeast && led === states.length && (await areAnswered(connections, topic, states))) return
    if (systemClock.monotonic() > deadline) {
      const missing = Math.max(atLeast, states.length) - led
      const why =
        missing > 0 ? `${missing} partition(s) of ${topic} have no leader yet` : `a leader of ${topic} is not ready`
      throw retryable('leader_missing', why)
    }
    await systemClock.sleep(backoffMs(BACKOFF, attempt))
  }
}

/** Metadata name a leader a moment before it answers for its partition. */
async function areAnswered(
  connections: KafkaConnections,
  topic: string,
  states: readonly PartitionMetadata[],
): Promise<boolean> {
  const asked = [...Map.groupBy(states, ({ leader }) => leader)].map(([leader, led]) => {
    const partitions = led.map(({ partition }) => partition)
    return connections.send(leader, 'control', listOffsetsRequest(topic, partitions, 'latest', 'read_uncommitted'))
  })
  return (await Promise.all(asked)).flat().every(({ error }) => !NOT_YET.has(error))
}

type Call = <T>(what: string, request: () => Promise<T>) => Promise<T>

function kafkaAdmin(admin: Admin, connections: KafkaConnections, call: Call): KafkaAdmin {
  return {
    async partitions(topics) {
      return new Map([...(await connections.topics(topics))].map(([name, { partitions }]) => [name, partitions]))
    },

    async partitionCounts(topics) {
      return new Map([...(await connections.topics(topics))].map(([name, { partitions }]) => [name, partitions.length]))
    },

    createTopic: ({ name, partitions, replicas, config }) =>
      call(`creating ${name}`, async () => {
        const configEntries = Object.entries(config).map(([key, value]) => ({ name: key, value }))
        const topic = { topic: name, numPartitions: partitions, replicationFactor: replicas, configEntries }
        const made = await admin.createTopics({ topics: [topic], waitForLeaders: false })
        await leadersOf(connections, name, made ? partitions : 1)
        return made
      }),

    async deleteTopic(topic) {
      await call(`deleting ${topic}`, () => admin.deleteTopics({ topics: [topic] }))
    },

    async addPartitions(topic, total) {
      const present = (await connections.topics([topic])).get(topic)?.partitions.length ?? 0
      if (present < total) {
        await call(`adding partitions to ${topic}`, () =>
          admin.createPartitions({ topicPartitions: [{ topic, count: total }] }),
        )
      }
      await leadersOf(connections, topic, total)
    },

    async topicConfig(topic, names) {
      const answer = await call(`reading the settings of ${topic}`, () =>
        admin.describeConfigs({
          includeSynonyms: false,
          resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configNames: [...names] }],
        }),
      )
      const entries = answer.resources[0]?.configEntries ?? []
      return new Map(entries.map((entry) => [entry.configName, entry.configValue]))
    },

    async alterTopicConfig(topic, config) {
      const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
      await call(`changing the settings of ${topic}`, () =>
        admin.alterConfigs({
          validateOnly: false,
          resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }],
        }),
      )
    },

    async ranges(topic) {
      const answer = await call(`reading the offsets of ${topic}`, () => admin.fetchTopicOffsets(topic))
      return answer
        .map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }))
        .sort((a, b) => a.partition - b.partition)
    },

    async offsetsAt(topic, time) {
      const answer = await call(`reading the offsets of ${topic} by time`, () =>
        admin.fetchTopicOffsetsByTimestamp(topic, time),
      )
      return new Map(answer.map(({ partition, offset }) => [partition, Number(offset)]))
    },

    async committed(groupId, topic) {
      const answer = await call(`reading the positions of ${groupId}`, () =>
        admin.fetchOffsets({ groupId, topics: [topic] }),
      )
      const partitions = answer[0]?.partitions ?? []
      return new Map(partitions.map(({ partition, offset }) => [partition, offset === '-1' ? null : Number(offset)]))
    },

    async members(group) {
      const { groups } = await call(`reading the members of ${group}`, () => admin.describeGroups([group]))
      return groups[0]?.members.map(({ clientId }) => clientId) ?? []
    },

    brokerCount: async () => (await call('describing the cluster', () => admin.describeCluster())).brokers.length,
  }
}
