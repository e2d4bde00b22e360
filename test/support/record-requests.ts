import { createRequire } from 'node:module'
import { logLevel } from 'kafkajs'
import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import { clientOptions } from '../../infra/runtime/kafka/kafka-client.ts'
import type { AbortedTransaction } from '../../infra/runtime/kafka/record-batches/transactions.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'

/*
 * Produce v7 and Fetch v11 with record sets as bytes, over a connection of kafkajs.
 *
 *   Produce   transactional_id NULLABLE_STRING, acks INT16, timeout INT32, topics ARRAY of
 *             { name STRING, partitions ARRAY of { index INT32, records BYTES } }
 *   answer    topics ARRAY of { name, partitions ARRAY of { index INT32, error INT16, base_offset INT64, … } }
 *   Fetch     replica_id INT32, max_wait_ms INT32, min_bytes INT32, max_bytes INT32, isolation_level INT8, session_id INT32,
 *             session_epoch INT32, topics ARRAY of { name, partitions ARRAY of { index INT32, leader_epoch INT32,
 *             fetch_offset INT64, log_start_offset INT64, max_bytes INT32 } }, forgotten ARRAY, rack_id STRING
 *   answer    throttle_ms INT32, error INT16, session_id INT32, topics ARRAY of { name, partitions ARRAY of { index INT32,
 *             error INT16, high_watermark INT64, last_stable_offset INT64, log_start_offset INT64,
 *             aborted ARRAY of { producer_id INT64, first_offset INT64 }, preferred_replica INT32, records BYTES } }
 */

export interface Fetched {
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly aborted: readonly AbortedTransaction[]
  readonly records: Buffer
}

export interface RecordRequests {
  /** Error code and base offset. */
  produce(topic: string, records: Buffer): Promise<readonly [error: number, baseOffset: number]>
  /** Rejects unless the error code is 0. */
  fetch(
    topic: string,
    from: number,
    isolation: 'read_committed' | 'read_uncommitted',
    maxBytes: number,
  ): Promise<Fetched>
  newProducerId(): Promise<bigint>
  stop(): Promise<void>
}

interface Broker {
  readonly connectionPool: { send<T>(request: object): Promise<T> }
  initProducerId(options: object): Promise<{ readonly producerId: string }>
}
interface Cluster {
  connect(): Promise<void>
  refreshMetadata(): Promise<void>
  disconnect(): Promise<void>
  findControllerBroker(): Promise<Broker>
}

/** All requests are about partition 0 of a topic on the only broker. */
export async function recordRequests(env: Readonly<Record<string, string>>): Promise<RecordRequests> {
  const require = createRequire(import.meta.url)
  const NativeCluster = require('kafkajs/src/cluster') as new (options: object) => Cluster
  const Encoder = require('kafkajs/src/protocol/encoder') as new () => { writeBuffer(bytes: Buffer): unknown }
  const { createLogger } = require('kafkajs/src/loggers') as { createLogger(options: object): unknown }
  const options = clientOptions(kafkaConfig(readConfig(CONNECTIONS, env)), 'test', silentLogger)
  const cluster = new NativeCluster({
    ...options,
    logger: createLogger({ level: logLevel.NOTHING, logCreator: options.logCreator }),
    offsets: new Map(),
    maxInFlightRequests: null,
    metadataMaxAge: 300_000,
  })
  await cluster.connect()
  await cluster.refreshMetadata()
  const broker = await cluster.findControllerBroker()
  const send = <T>(apiKey: number, apiVersion: number, body: Buffer, parse: (answer: Buffer) => T): Promise<T> =>
    broker.connectionPool.send<T>({
      request: { apiKey, apiVersion, apiName: `${apiKey}`, encode: async () => new Encoder().writeBuffer(body) },
      response: { decode: async (answer: Buffer) => answer, parse: async (answer: Buffer) => parse(answer) },
    })
  return {
    stop: () => cluster.disconnect(),
    newProducerId: async () =>
      BigInt((await broker.initProducerId({ transactionalId: null, transactionTimeout: 30_000 })).producerId),
    produce: (topic, records) => {
      const body = [int16(-1), int16(-1), int32(30_000), ofPartition(topic), int32(records.length), records]
      return send(0, 7, Buffer.concat(body), (answer) => {
        const at = 4 + 2 + topic.length + 4 + 4
        return [answer.readInt16BE(at), Number(answer.readBigInt64BE(at + 2))] as const
      })
    },
    fetch: (topic, from, isolation, maxBytes) => {
      const level = Buffer.from([isolation === 'read_committed' ? 1 : 0])
      const limits = [int32(-1), int32(1_000), int32(1), int32(maxBytes), level, int32(0), int32(-1)]
      const position = [int32(-1), int64(from), int64(-1), int32(maxBytes)]
      const body = [...limits, ofPartition(topic), ...position, int32(0), int16(0)]
      return send(1, 11, Buffer.concat(body), (answer) => fetched(answer, 4 + 2 + 4 + 4 + 2 + topic.length + 4 + 4))
    },
  }
}

function fetched(answer: Buffer, at: number): Fetched {
  const error = answer.readInt16BE(at)
  if (error !== 0) throw new Error(`Fetch: error code ${error}`)
  const offsets = [at + 2, at + 10].map((position) => Number(answer.readBigInt64BE(position)))
  const count = Math.max(0, answer.readInt32BE(at + 26))
  const aborted = Array.from({ length: count }, (_, index) => ({
    producerId: answer.readBigInt64BE(at + 30 + index * 16),
    firstOffset: Number(answer.readBigInt64BE(at + 38 + index * 16)),
  }))
  const start = at + 30 + count * 16 + 4
  const length = Math.max(0, answer.readInt32BE(start))
  const [highWatermark = -1, lastStableOffset = -1] = offsets
  return { highWatermark, lastStableOffset, aborted, records: answer.subarray(start + 4, start + 4 + length) }
}

/** One topic with partition 0. */
function ofPartition(topic: string): Buffer {
  return Buffer.concat([int32(1), int16(topic.length), Buffer.from(topic), int32(1), int32(0)])
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function int64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(value))
  return bytes
}
