import { type Backoff, backoffMs } from '../backoff.ts'
import type { Clock } from '../clock.ts'
import { describeError, fatal, fateOf, retryable } from '../errors.ts'
import { brokerRefusal } from './connections/broker-refusals.ts'
import type { Channel, KafkaConnections } from './connections/connections.ts'
import type { BrokerError } from './protocol/error-codes.ts'
import type { KafkaRequest } from './protocol/request.ts'

/** Asks the leader of one partition, wherever it moves. */
export interface PartitionLeader {
  /**
   * Sends until an answer has no error or one that `final` names, with back-off; asks for the leader anew after each failure. Rejects
   * with the last failure once `signal` aborts, `unknown_topic` (crash) when the topic or partition is absent for 5 s.
   */
  ask<T extends { readonly error: BrokerError | null }>(
    request: KafkaRequest<T>,
    options?: { readonly final?: BrokerError; readonly signal?: AbortSignal | undefined; readonly channel?: Channel },
  ): Promise<T>
}

const BACKOFF: Backoff = { baseMs: 20, maxMs: 2_000 }
/** A broker that was just started, or a topic just created, may not be known everywhere. */
const ABSENT_MS = 5_000

export function createPartitionLeader(
  connections: KafkaConnections,
  clock: Clock,
  topic: string,
  partition: number,
): PartitionLeader {
  const where = `${topic}/${partition}`
  let absentSince: number | null = null

  async function refreshedLeader(): Promise<number> {
    const found = (await connections.topics([topic])).get(topic)
    if (found?.partitions[partition] === undefined) {
      absentSince ??= clock.monotonic()
      const what = found === undefined ? `topic ${topic} does not exist` : `${topic} has no partition ${partition}`
      if (clock.monotonic() - absentSince >= ABSENT_MS) throw fatal('unknown_topic', what)
      throw retryable('kafka_unavailable', what)
    }
    absentSince = null
    const leader = connections.leaderOf(topic, partition)
    if (leader === null) throw retryable('kafka_unavailable', `${where} has no leader`)
    return leader
  }

  return {
    async ask(request, { final, signal, channel = 'control' } = {}) {
      for (let attempt = 0; ; attempt++) {
        try {
          const known = attempt === 0 ? connections.leaderOf(topic, partition) : null
          const leader = known ?? (await unlessAborted(refreshedLeader(), signal))
          const answer = await unlessAborted(connections.send(leader, channel, request), signal)
          if (answer.error === null || answer.error === final) return answer
          throw brokerRefusal(answer.error, `${request.name} of ${where}`)
        } catch (error) {
          const closed = describeError(error).code === 'kafka_closed'
          if (fateOf(error) !== 'retry' || closed || signal?.aborted) throw error
          await clock.sleep(backoffMs(BACKOFF, attempt), signal)
          if (signal?.aborted) throw error
        }
      }
    },
  }
}

/** What a request answers after the signal aborted is nobody's business any more. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(retryable('kafka_unavailable', 'given up before it was answered', signal.reason))
  signal.addEventListener('abort', abort)
  if (signal.aborted) abort()
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
    // of a race that the signal won
    work.catch(() => {})
  }
}
