import { createRequire } from 'node:module'
import { logLevel } from 'kafkajs'
import { fatal, MillraceError, retryable } from '../errors.ts'
import { clientOptions, type KafkaClient } from './kafka-client.ts'

/*
 * Metadata request, version 10 (KIP-516: topic ids), which kafkajs does not speak; sent over its connections.
 *
 *   request   header v2: the header that kafkajs writes (v1), then tagged fields: 0x00
 *             topics: COMPACT_ARRAY of { topic_id: UUID, name: COMPACT_NULLABLE_STRING, tags }
 *             allow_auto_topic_creation: BOOLEAN, include_cluster_authorized_operations: BOOLEAN,
 *             include_topic_authorized_operations: BOOLEAN, tags
 *   response  header v1: tags (the correlation id is already taken off)
 *             throttle_time_ms: INT32
 *             brokers: COMPACT_ARRAY of { node_id: INT32, host: COMPACT_STRING, port: INT32,
 *                                         rack: COMPACT_NULLABLE_STRING, tags }
 *             cluster_id: COMPACT_NULLABLE_STRING, controller_id: INT32
 *             topics: COMPACT_ARRAY of { error: INT16, name: COMPACT_STRING, topic_id: UUID, is_internal: BOOLEAN,
 *                       partitions: COMPACT_ARRAY of { error: INT16, index: INT32, leader: INT32, leader_epoch: INT32,
 *                         replicas, isr, offline: COMPACT_ARRAY of INT32, tags },
 *                       authorized_operations: INT32, tags }
 *
 * A compact length is an unsigned varint of length + 1; 0 means null. Tags are sent empty (0x00).
 */
const API_KEY = 3
const API_VERSION = 10
const UUID_BYTES = 16
const UNKNOWN_TOPIC_OR_PARTITION = 3

/** Id (UUID) of each topic as it is now. Rejects with `unknown_topic` or `kafka_unavailable` (retry). */
export async function fetchTopicIds(
  client: KafkaClient,
  topics: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const require = createRequire(import.meta.url)
  const Cluster = require('kafkajs/src/cluster') as new (options: object) => NativeCluster
  const { createLogger } = require('kafkajs/src/loggers') as { createLogger(options: object): unknown }
  const options = clientOptions(client.config, client.clientId, client.logger)
  const cluster = new Cluster({
    ...options,
    logger: createLogger({ level: logLevel.NOTHING, logCreator: options.logCreator }),
    offsets: new Map(),
    maxInFlightRequests: null,
    metadataMaxAge: 300_000,
  })
  try {
    await cluster.connect()
    await cluster.refreshMetadata()
    const broker = await cluster.findControllerBroker()
    return await broker.connectionPool.send(metadataRequest(topics))
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw retryable('kafka_unavailable', `the ids of ${topics.join(', ')}: ${(error as Error).message}`, error)
  } finally {
    await cluster.disconnect()
  }
}

interface NativeCluster {
  connect(): Promise<void>
  refreshMetadata(): Promise<void>
  disconnect(): Promise<void>
  findControllerBroker(): Promise<{ readonly connectionPool: { send<T>(request: ProtocolRequest<T>): Promise<T> } }>
}

interface ProtocolRequest<T> {
  readonly request: { apiKey: number; apiVersion: number; apiName: string; encode(): Promise<unknown> }
  readonly response: { decode(payload: Buffer): Promise<Buffer>; parse(payload: Buffer): Promise<T> }
}

function metadataRequest(topics: readonly string[]): ProtocolRequest<ReadonlyMap<string, string>> {
  return {
    request: {
      apiKey: API_KEY,
      apiVersion: API_VERSION,
      apiName: 'Metadata',
      encode: async () => preEncoded(encodeMetadataRequest(topics)),
    },
    response: {
      decode: async (payload) => payload,
      parse: async (payload) => topicIdsOf(payload, topics),
    },
  }
}

/** Wraps finished bytes in the encoder that kafkajs asks its requests for. */
function preEncoded(body: Buffer): unknown {
  const Encoder = createRequire(import.meta.url)('kafkajs/src/protocol/encoder') as new () => {
    writeBuffer(bytes: Buffer): unknown
  }
  return new Encoder().writeBuffer(body)
}

export function encodeMetadataRequest(topics: readonly string[]): Buffer {
  const parts: Buffer[] = [Buffer.from([0]), unsignedVarint(topics.length + 1)]
  for (const topic of topics) {
    const name = Buffer.from(topic)
    parts.push(Buffer.alloc(UUID_BYTES), unsignedVarint(name.length + 1), name, Buffer.from([0]))
  }
  parts.push(Buffer.from([0, 0, 0, 0]))
  return Buffer.concat(parts)
}

function topicIdsOf(payload: Buffer, asked: readonly string[]): ReadonlyMap<string, string> {
  const answers = decodeMetadataResponse(payload)
  const ids = new Map<string, string>()
  for (const topic of asked) {
    const answer = answers.get(topic)
    if (answer === undefined || answer.error === UNKNOWN_TOPIC_OR_PARTITION) {
      throw fatal('unknown_topic', `topic ${topic} does not exist`)
    }
    if (answer.error !== 0) throw retryable('kafka_unavailable', `metadata of ${topic}: error code ${answer.error}`)
    ids.set(topic, answer.id)
  }
  return ids
}

export function decodeMetadataResponse(payload: Buffer): ReadonlyMap<string, { error: number; id: string }> {
  let at = 0
  const advance = (bytes: number): number => {
    at += bytes
    return at - bytes
  }
  const int16 = (): number => payload.readInt16BE(advance(2))
  const int32 = (): number => payload.readInt32BE(advance(4))
  const varint = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = payload.readUInt8(advance(1))
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
  }
  const string = (): string => {
    const length = Math.max(0, varint() - 1)
    const start = advance(length)
    return payload.toString('utf8', start, at)
  }
  const uuid = (): string => {
    const start = advance(UUID_BYTES)
    const hex = payload.toString('hex', start, at)
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  }
  const array = (item: () => void): void => {
    for (let left = varint() - 1; left > 0; left--) item()
  }
  const tags = (): void => {
    for (let left = varint(); left > 0; left--) {
      varint()
      advance(varint())
    }
  }

  tags()
  int32()
  array(() => {
    int32()
    string()
    int32()
    string()
    tags()
  })
  string()
  int32()
  const topics = new Map<string, { error: number; id: string }>()
  array(() => {
    const error = int16()
    const name = string()
    topics.set(name, { error, id: uuid() })
    advance(1)
    array(() => {
      int16()
      int32()
      int32()
      int32()
      for (let list = 0; list < 3; list++) array(() => void int32())
      tags()
    })
    int32()
    tags()
  })
  return topics
}

function unsignedVarint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80)
  bytes.push(rest)
  return Buffer.from(bytes)
}
