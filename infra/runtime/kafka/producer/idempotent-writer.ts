import { backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { fatal, fateOf } from '../../errors.ts'
import type { Started } from '../../lifecycle/scope.ts'
import type { Logger } from '../../telemetry/logger.ts'
import { brokerRefusal } from '../connections/broker-refusals.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import { initProducerIdRequest, type ProducerIdentity } from '../protocol/init-producer-id.ts'
import { type Compression, preferredCompression } from '../record-batches/codecs/compression.ts'
import type { OutgoingBatch, RecordWriter, WrittenBatch } from '../record-writer.ts'
import { createBatchSender } from './batch-sender.ts'
import { outgoingColumns } from './outgoing-columns.ts'
import type { SequencedPartition } from './sequenced-partition.ts'

export interface IdempotentWriterOptions {
  readonly connections: KafkaConnections
  readonly clock: Clock
  readonly logger: Logger
  /** By default LZ4, or none where its native package is not installed. */
  readonly compression?: Compression
  /** How long a batch waits for others to share its request with, ms. Default 0: until the end of the event loop's turn. */
  readonly lingerMs?: number
  /** How long a batch is sent again before its outcome counts as unknown, ms. Default 30 s. */
  readonly deliveryTimeoutMs?: number
}

const RETRY = { baseMs: 20, maxMs: 1_000 }
const REQUEST_TIMEOUT_MS = 10_000
const DELIVERY_TIMEOUT_MS = 30_000
const MAX_BYTES_IN_FLIGHT = 67_108_864
/** Asked for, though without a transactional id it counts for nothing. */
const TRANSACTION_TIMEOUT_MS = 60_000

/**
 * Writes with a producer id of its own: a batch that is sent again is not stored again, and batches of a partition keep
 * their order. When an outcome stays unknown, the partition goes on under a new producer id, and whoever writes the same records again
 * may find them twice: at least once there, exactly once everywhere else. `record_too_large` and `invalid_record` (reject)
 * are about one batch; others of the same call may be in the log. `stop` does not wait: what is not acknowledged is rejected with
 * `producer_stopped` (retry).
 */
export function createIdempotentWriter(options: IdempotentWriterOptions): Started<RecordWriter> {
  const { connections, clock, logger, deliveryTimeoutMs = DELIVERY_TIMEOUT_MS } = options
  const stopping = new AbortController()
  const sender = createBatchSender({
    connections,
    clock,
    compression: options.compression ?? preferredCompression(),
    lingerMs: options.lingerMs ?? 0,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    deliveryTimeoutMs,
    maxBytesInFlight: MAX_BYTES_IN_FLIGHT,
    onRetry: (retry) => logger.debug(retry, 'a batch is sent again'),
  })
  const partitions = new Map<string, Promise<SequencedPartition>>()
  /** For partitions that are opened; one that has ended takes a new one. */
  let producer: Promise<ProducerIdentity> | null = null

  async function open(topic: string, partition: number): Promise<SequencedPartition> {
    if (connections.leaderOf(topic, partition) === null) await requirePartition(topic, partition)
    producer ??= newProducer()
    return sender.open({ topic, partition, producer: await producer, generation: null, logEnd: 0, trusted: () => true })
  }

  /** A broker that has just started says that it is not ready yet. */
  async function newProducer(): Promise<ProducerIdentity> {
    const deadline = clock.monotonic() + deliveryTimeoutMs
    for (let attempt = 0; ; attempt++) {
      try {
        const answer = await connections.sendToAny(initProducerIdRequest(null, TRANSACTION_TIMEOUT_MS))
        if (answer.error !== null) throw brokerRefusal(answer.error, 'a producer id')
        return answer.producer
      } catch (error) {
        if (fateOf(error) !== 'retry' || stopping.signal.aborted || clock.monotonic() >= deadline) throw error
        await clock.sleep(backoffMs(RETRY, attempt), stopping.signal)
      }
    }
  }

  async function requirePartition(topic: string, partition: number): Promise<void> {
    const found = (await connections.topics([topic])).get(topic)
    if (found?.partitions[partition] === undefined) {
      throw fatal('unknown_topic', `${topic} does not exist, or has no partition ${partition}`)
    }
  }

  async function writeOne({ topic, partition, records }: OutgoingBatch): Promise<WrittenBatch> {
    const name = `${topic}/${partition}`
    const opened = partitions.get(name) ?? open(topic, partition)
    partitions.set(name, opened)
    let log: SequencedPartition | null = null
    try {
      log = await opened
      const appended = await log.append(outgoingColumns(records, clock.now()))
      return { topic, partition, ...appended }
    } catch (error) {
      if (log?.ended !== false && partitions.get(name) === opened) {
        partitions.delete(name)
        producer = null
      }
      throw error
    }
  }

  return {
    value: {
      async write(batches) {
        const results = await Promise.allSettled(batches.filter(({ records }) => records.length > 0).map(writeOne))
        return results.map((result) => {
          if (result.status === 'rejected') throw result.reason
          return result.value
        })
      },
    },
    async stop() {
      stopping.abort()
      sender.close()
    },
  }
}
