import type { PartitionMetadata, TopicMetadata } from '../connections/connections.ts'
import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * Metadata, version 10 (KIP-516: topic ids).
 *
 *   request   tags, topics: COMPACT_ARRAY of { topic_id: UUID, name: COMPACT_NULLABLE_STRING, tags },
 *             allow_auto_topic_creation: BOOLEAN, include_cluster_authorized_operations: BOOLEAN,
 *             include_topic_authorized_operations: BOOLEAN, tags
 *   response  tags, throttle_time_ms: INT32,
 *             brokers: COMPACT_ARRAY of { node_id: INT32, host: COMPACT_STRING, port: INT32,
 *                                         rack: COMPACT_NULLABLE_STRING, tags },
 *             cluster_id: COMPACT_NULLABLE_STRING, controller_id: INT32,
 *             topics: COMPACT_ARRAY of { error: INT16, name: COMPACT_STRING, topic_id: UUID, is_internal: BOOLEAN,
 *                       partitions: COMPACT_ARRAY of { error: INT16, index: INT32, leader: INT32, leader_epoch: INT32,
 *                         replicas, isr, offline: COMPACT_ARRAY of INT32, tags },
 *                       authorized_operations: INT32, tags },
 *             cluster_authorized_operations: INT32, tags
 */

export interface BrokerAddress {
  readonly node: number
  readonly host: string
  readonly port: number
}

export interface Metadata {
  /** Those that are up, by the controller's view. */
  readonly brokers: readonly BrokerAddress[]
  readonly topics: readonly { readonly error: BrokerError | null; readonly topic: TopicMetadata }[]
}

/** No topics: the brokers alone. Topics are never created by asking for them. */
export function metadataRequest(topics: readonly string[]): KafkaRequest<Metadata> {
  return {
    apiKey: 3,
    apiVersion: 10,
    name: 'Metadata',
    body: wireWriter()
      .noTags()
      .compactArray(topics, (topic, writer) => writer.uuid(null).compactString(topic).noTags())
      .boolean(false)
      .boolean(false)
      .boolean(false)
      .noTags()
      .end(),
    decode: readMetadata,
  }
}

function readMetadata(payload: Buffer): Metadata {
  const reader = wireReader(payload, 'Metadata')
  const nodes = (): number[] => reader.compactArray(() => reader.int32())
  reader.skipTags()
  reader.int32()
  const brokers = reader.compactArray(() => {
    const broker = { node: reader.int32(), host: reader.compactString() ?? '', port: reader.int32() }
    reader.compactString()
    reader.skipTags()
    return broker
  })
  reader.compactString()
  reader.int32()
  const topics = reader.compactArray(() => {
    const error = brokerError(reader.int16())
    const name = reader.compactString() ?? ''
    const id = reader.uuid()
    reader.boolean()
    const partitions = reader.compactArray((): PartitionMetadata => {
      // a partition's error says why it has no leader
      reader.int16()
      const partition = reader.int32()
      const leader = reader.int32()
      const leaderEpoch = reader.int32()
      const replicas = nodes()
      const inSync = nodes()
      nodes()
      reader.skipTags()
      return { partition, leader, leaderEpoch, replicas, inSync }
    })
    reader.int32()
    reader.skipTags()
    partitions.sort((left, right) => left.partition - right.partition)
    return { error, topic: { name, id, partitions } }
  })
  return { brokers, topics }
}
