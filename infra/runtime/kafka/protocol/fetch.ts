import type { AbortedTransaction } from '../record-batches/transactions.ts'
import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { type WireReader, wireReader, wireWriter } from './wire.ts'

/*
 * Fetch, version 11, without a fetch session: every request names all its partitions.
 *
 *   request   replica_id: INT32 = -1, max_wait_ms: INT32, min_bytes: INT32, max_bytes: INT32,
 *             isolation_level: INT8 (0 read_uncommitted, 1 read_committed), session_id: INT32 = 0, session_epoch: INT32 = -1,
 *             topics: ARRAY of { topic: STRING, partitions: ARRAY of
 *                       { partition: INT32, current_leader_epoch: INT32, fetch_offset: INT64, log_start_offset: INT64 = -1,
 *                         partition_max_bytes: INT32 } },
 *             forgotten_topics: ARRAY of { topic: STRING, partitions: ARRAY of INT32 }, rack_id: STRING
 *   response  throttle_time_ms: INT32, error: INT16, session_id: INT32,
 *             topics: ARRAY of { topic: STRING, partitions: ARRAY of
 *                       { partition: INT32, error: INT16, high_watermark: INT64, last_stable_offset: INT64,
 *                         log_start_offset: INT64, aborted: ARRAY of { producer_id: INT64, first_offset: INT64 },
 *                         preferred_read_replica: INT32, records: BYTES } }
 */
const NO_SESSION = { id: 0, epoch: -1 }

export type Isolation = 'read_committed' | 'read_uncommitted'

export interface FetchTopic {
  readonly topic: string
  readonly partitions: readonly FetchPosition[]
}

export interface FetchPosition {
  readonly partition: number
  readonly offset: number
  /** The broker sends at least one batch, however large. */
  readonly maxBytes: number
  /** From the metadata: a broker with another one answers FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH. Default: any. */
  readonly leaderEpoch?: number
}

export interface FetchOptions {
  readonly isolation: Isolation
  /** How long the broker waits for `minBytes`. 0 = answers at once. */
  readonly maxWaitMs: number
  readonly minBytes: number
  /** Of all partitions together. */
  readonly maxBytes: number
}

export interface FetchedPartition {
  readonly topic: string
  readonly partition: number
  readonly error: BrokerError | null
  /** -1 with an error. */
  readonly highWatermark: number
  /** Below it every transaction has ended: where read_committed ends. */
  readonly lastStableOffset: number
  readonly logStartOffset: number
  /** What read_committed has to leave out of these records, and of no other ones; null = read_uncommitted. */
  readonly aborted: readonly AbortedTransaction[] | null
  /** A view of the answer, for `decodeRecordSet`; the last batch may be cut off. */
  readonly records: Buffer
}

export interface Fetched {
  readonly error: BrokerError | null
  /** The broker holds us to a quota: it wants no request for so long, and may have left partitions out. */
  readonly throttleMs: number
  readonly partitions: readonly FetchedPartition[]
}

const NOTHING = Buffer.alloc(0)

export function fetchRequest(topics: readonly FetchTopic[], options: FetchOptions): KafkaRequest<Fetched> {
  const { isolation, maxWaitMs, minBytes, maxBytes } = options
  return {
    apiKey: 1,
    apiVersion: 11,
    name: 'Fetch',
    holdMs: maxWaitMs,
    body: wireWriter()
      .int32(-1)
      .int32(maxWaitMs)
      .int32(minBytes)
      .int32(maxBytes)
      .int8(isolation === 'read_committed' ? 1 : 0)
      .int32(NO_SESSION.id)
      .int32(NO_SESSION.epoch)
      .array(topics, ({ topic, partitions }, writer) =>
        writer
          .string(topic)
          .array(partitions, ({ partition, offset, maxBytes: partitionBytes, leaderEpoch = -1 }, position) =>
            position.int32(partition).int32(leaderEpoch).int64(offset).int64(-1).int32(partitionBytes),
          ),
      )
      .int32(0)
      .string('')
      .end(),
    decode(payload) {
      const reader = wireReader(payload, 'Fetch')
      const throttleMs = reader.int32()
      const error = brokerError(reader.int16())
      reader.int32()
      const answers = reader.array(() => {
        const topic = reader.string() ?? ''
        return reader.array(() => readPartition(reader, topic, isolation))
      })
      return { error, throttleMs, partitions: answers.flat() }
    },
  }
}

function readPartition(reader: WireReader, topic: string, isolation: Isolation): FetchedPartition {
  const partition = reader.int32()
  const error = brokerError(reader.int16())
  const highWatermark = reader.int64()
  const lastStableOffset = reader.int64()
  const logStartOffset = reader.int64()
  const aborted = reader.array(() => ({ producerId: reader.bigint64(), firstOffset: reader.int64() }))
  // a replica to read from: never named to a client without a rack
  reader.int32()
  const records = reader.bytes() ?? NOTHING
  return {
    topic,
    partition,
    error,
    highWatermark,
    lastStableOffset,
    logStartOffset,
    aborted: isolation === 'read_committed' ? aborted : null,
    records,
  }
}
