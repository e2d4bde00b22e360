import type { Clock } from '../../clock.ts'
import { retryable } from '../../errors.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { KafkaConfig } from '../kafka-client.ts'
import { type CoordinatorKind, findCoordinatorRequest } from '../protocol/find-coordinator.ts'
import { metadataRequest } from '../protocol/metadata.ts'
import { createBrokerLinks } from './broker-links.ts'
import { brokerRefusal } from './broker-refusals.ts'
import type { KafkaConnections, TopicMetadata } from './connections.ts'

export interface ConnectionsOptions {
  readonly config: KafkaConfig
  readonly clientId: string
  readonly logger: Logger
  readonly clock: Clock
  /** For an answer, besides the time that its request lets the broker hold it back. Default 30 s. */
  readonly requestTimeoutMs?: number
  /** For TCP and TLS. Default 3 s. */
  readonly connectTimeoutMs?: number
}

/** Nothing is connected before the first request. */
export function createKafkaConnections(options: ConnectionsOptions): KafkaConnections {
  const { config, clientId, logger, clock, requestTimeoutMs = 30_000, connectTimeoutMs = 3_000 } = options
  const links = createBrokerLinks({ config, clientId, logger, clock, requestTimeoutMs, connectTimeoutMs, findBrokers })
  const leaders = new Map<string, TopicMetadata>()
  const asking = new Map<string, Promise<ReadonlyMap<string, TopicMetadata>>>()
  const coordinators = new Map<string, Promise<number>>()

  async function findBrokers(): Promise<void> {
    await topics([])
  }

  function topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicMetadata>> {
    const key = [...names].sort().join(' ')
    const shared = asking.get(key)
    if (shared !== undefined) return shared
    const asked = askTopics(names).finally(() => asking.delete(key))
    asking.set(key, asked)
    return asked
  }

  async function askTopics(names: readonly string[]): Promise<ReadonlyMap<string, TopicMetadata>> {
    const metadata = await links.sendToAny(metadataRequest(names))
    // one that just started, or that does not take us for who we are: what it says of topics does not count
    if (metadata.brokers.length === 0) throw retryable('kafka_unavailable', 'the broker knows of no broker')
    for (const broker of metadata.brokers) links.learn(broker)
    const found = new Map<string, TopicMetadata>()
    for (const { error, topic } of metadata.topics) {
      if (error === 'UNKNOWN_TOPIC_OR_PARTITION') continue
      if (error !== null) throw brokerRefusal(error, `metadata of ${topic.name}`)
      found.set(topic.name, topic)
    }
    for (const name of names) {
      const topic = found.get(name)
      if (topic === undefined) leaders.delete(name)
      else leaders.set(name, topic)
    }
    return found
  }

  async function findCoordinator(kind: CoordinatorKind, key: string): Promise<number> {
    const { error, broker } = await links.sendToAny(findCoordinatorRequest(kind, key))
    if (error !== null) throw brokerRefusal(error, `the coordinator of ${kind} ${key}`)
    links.learn(broker)
    return broker.node
  }

  return {
    send: (node, channel, request) => links.send(node, channel, request),
    sendToAny: (request) => links.sendToAny(request),
    topics,
    leaderOf(topic, partition) {
      const leader = leaders.get(topic)?.partitions[partition]?.leader ?? -1
      return leader < 0 ? null : leader
    },
    coordinator(kind, key) {
      const id = `${kind} ${key}`
      const known = coordinators.get(id)
      if (known !== undefined) return known
      const found = findCoordinator(kind, key)
      coordinators.set(id, found)
      found.catch(() => {
        if (coordinators.get(id) === found) coordinators.delete(id)
      })
      return found
    },
    forgetCoordinator(kind, key) {
      coordinators.delete(`${kind} ${key}`)
    },
    close: () => links.close(),
  }
}
