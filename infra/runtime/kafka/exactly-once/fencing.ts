import { backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { fateOf, type MillraceError, retryable } from '../../errors.ts'
import { brokerRefusal } from '../connections/broker-refusals.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import type { LogReader } from '../log-reader.ts'
import { isFenced } from '../producer/produce-answers.ts'
import { addPartitionToTxnRequest } from '../protocol/add-partitions-to-txn.ts'
import { abortTxnRequest } from '../protocol/end-txn.ts'
import type { BrokerError } from '../protocol/error-codes.ts'
import { initProducerIdRequest, type ProducerIdentity } from '../protocol/init-producer-id.ts'
import type { KafkaRequest } from '../protocol/request.ts'

/** A partition, and the transactional id whose holder alone may write it. */
export interface FencedPartition {
  readonly transactionalId: string
  readonly topic: string
  readonly partition: number
}

/** The steps that make one writer the only one. Each retries by itself while its coordinator is away, up to `patienceMs`. */
export interface Fencing {
  /** The id with the next epoch. Whoever had the one before can still write, until `fence`. */
  bumpEpoch(partition: FencedPartition, signal: AbortSignal): Promise<ProducerIdentity>
  /**
   * Writes an abort marker with this epoch, which makes the broker refuse every lower one, and waits until it is in the log: the answer
   * to EndTxn is not enough. Answers the marker's offset. Rejects with `lane_fenced` (retry) when the epoch is not the last one.
   */
  fence(partition: FencedPartition, producer: ProducerIdentity, signal: AbortSignal): Promise<number>
  /** The same marker again, so that neither the broker nor the coordinator forgets the epoch; does not wait for it. */
  renew(partition: FencedPartition, producer: ProducerIdentity, signal: AbortSignal): Promise<void>
}

export interface FencingOptions {
  readonly connections: KafkaConnections
  readonly logReader: LogReader
  readonly clock: Clock
  readonly transactionTimeoutMs: number
  readonly patienceMs: number
}

const RETRY = { baseMs: 5, maxMs: 500 }

export function createFencing(options: FencingOptions): Fencing {
  const { connections, logReader, clock } = options

  async function ask<T>(
    transactionalId: string,
    request: KafkaRequest<T>,
    errorOf: (answer: T) => BrokerError | null,
    signal: AbortSignal,
  ): Promise<T> {
    const deadline = clock.monotonic() + options.patienceMs
    for (let attempt = 0; ; attempt++) {
      let failure: MillraceError
      try {
        const node = await connections.coordinator('transaction', transactionalId)
        const answer = await connections.send(node, 'control', request)
        const error = errorOf(answer)
        if (error === null) return answer
        const what = `${request.name} of ${transactionalId}`
        if (isFenced(error)) throw retryable('lane_fenced', `${what}: ${error}`)
        failure = brokerRefusal(error, what)
        // the transaction before is still being ended: the coordinator is the right one
        if (error !== 'CONCURRENT_TRANSACTIONS') connections.forgetCoordinator('transaction', transactionalId)
      } catch (error) {
        if (fateOf(error) !== 'retry' || isLaneFenced(error)) throw error
        connections.forgetCoordinator('transaction', transactionalId)
        failure = error as MillraceError
      }
      if (failure.fate !== 'retry' || signal.aborted || clock.monotonic() >= deadline) throw failure
      await clock.sleep(backoffMs(RETRY, attempt), signal)
      if (signal.aborted) throw failure
    }
  }

  async function abort(target: FencedPartition, producer: ProducerIdentity, signal: AbortSignal): Promise<void> {
    const { transactionalId, topic, partition } = target
    const error = (answer: BrokerError | null): BrokerError | null => answer
    await ask(transactionalId, addPartitionToTxnRequest(transactionalId, producer, topic, partition), error, signal)
    await ask(transactionalId, abortTxnRequest(transactionalId, producer), error, signal)
  }

  async function markerFrom(
    { topic, partition }: FencedPartition,
    from: number,
    { id, epoch }: ProducerIdentity,
    signal: AbortSignal,
  ): Promise<number> {
    for (let position = from; ; ) {
      const { end } = await logReader.waitForEnd(topic, partition, position, signal)
      for await (const set of logReader.read(topic, partition, position, end, { signal })) {
        const own = set.markers.find((marker) => marker.producerId === id && marker.producerEpoch === epoch)
        if (own !== undefined) return own.offset
        position = set.nextOffset
      }
    }
  }

  return {
    async bumpEpoch({ transactionalId }, signal) {
      const request = initProducerIdRequest(transactionalId, options.transactionTimeoutMs)
      const { producer } = await ask(transactionalId, request, ({ error }) => error, signal)
      return producer
    },
    async fence(target, producer, signal) {
      const { end } = await logReader.range(target.topic, target.partition)
      await abort(target, producer, signal)
      return await markerFrom(target, end, producer, signal)
    },
    renew: abort,
  }
}

function isLaneFenced(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'lane_fenced'
}
