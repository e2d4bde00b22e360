import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, fatal, fateOf, rejected } from '../../infra/runtime/errors.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'

/** Isolation as everybody has it who reads the outputs of stages. */
export const ISOLATION = 'read_committed'

export interface TopicTailOptions {
  readonly topic: string
  readonly brokers: Pick<KafkaConnections, 'topics'>
  readonly log: LogReader
  readonly clock: Clock
  readonly logger: Logger
  /** The longest that a partition where nothing comes is left alone, and how often it is looked for new partitions. */
  readonly idleMs: number
  readonly refreshMs: number
  /** Resolves when the set can be handed over. */
  prepare(set: RecordSet, signal: AbortSignal): Promise<void>
  /** The next set of a partition; its position is behind the set when this returns. */
  onRecords(partition: number, set: RecordSet): void
  /** Was added to the topic; read from its beginning. */
  onPartition(partition: number): void
  /** The log was cut off above the position: it goes on where the log begins. */
  onLost(partition: number, error: Error): void
}

/** Reads all partitions of a topic from where they ended when it began. */
export interface TopicTail {
  /** Id of the topic. */
  readonly generation: string
  readonly partitions: readonly number[]
  /** Behind everything that was handed over. */
  position(partition: number): number
  /** Asks the brokers for partitions that were added. Rejects with `topic_recreated` (reject), or as brokers do (retry). */
  refresh(): Promise<void>
  /** Rejects when the topic cannot be read any more (`topic_recreated`, reject, or a crash); resolves after `stop`. */
  readonly ended: Promise<void>
  stop(): Promise<void>
}

/** After records: what comes meanwhile is fetched together. */
const LINGER_MS = 5
/** How long somebody is kept waiting for brokers that do not answer. */
export const PATIENCE_MS = 5_000

/** Rejects with `unknown_topic` (crash), `kafka_unavailable` (retry). */
export async function startTopicTail(options: TopicTailOptions): Promise<TopicTail> {
  const { topic, brokers, log, clock, logger, idleMs } = options
  const found = (await brokers.topics([topic])).get(topic)
  if (found === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
  const generation = found.id
  const stopping = new AbortController()
  const { signal } = stopping
  const positions = new Map<number, number>()
  const ends = found.partitions.map(async ({ partition }) => {
    const { end } = await log.range(topic, partition, ISOLATION, AbortSignal.timeout(PATIENCE_MS))
    return [partition, end] as const
  })
  for (const [partition, end] of await Promise.all(ends)) positions.set(partition, end)

  const failed = Promise.withResolvers<never>()
  const loops: Promise<void>[] = []
  const run = (loop: Promise<void>): void => {
    loops.push(loop.catch((error: unknown) => failed.reject(error)))
  }

  async function follow(partition: number): Promise<void> {
    for (let idle = 0; !signal.aborted; ) {
      const position = positions.get(partition) ?? 0
      const { start, end } = await log.range(topic, partition, ISOLATION, signal)
      if (signal.aborted) return
      // a leader that was just elected may not know the end yet; another topic of the name would not be noticed later
      if (end < position) await refresh()
      if (start > position) {
        positions.set(partition, start)
        logger.warn({ topic, partition, position, start }, 'the log was cut off above where predictions were read')
        options.onLost(partition, positionLost(topic, partition, position, start))
      } else if (end > position) {
        await readTo(partition, position, end)
        idle = 0
      }
      await clock.sleep(Math.min(idleMs, LINGER_MS * 2 ** Math.min(idle++, 20)), signal)
    }
  }

  async function readTo(partition: number, from: number, to: number): Promise<void> {
    try {
      for await (const set of log.read(topic, partition, from, to, { isolation: ISOLATION, signal })) {
        await options.prepare(set, signal)
        if (signal.aborted) return
        options.onRecords(partition, set)
        positions.set(partition, set.nextOffset)
      }
    } catch (error) {
      // since the range was asked for; the next look at it says so
      if (describeError(error).code !== 'position_lost') throw error
    }
  }

  /** Finds partitions that were added. Rejects with `topic_recreated` (reject). */
  async function refresh(): Promise<void> {
    const now = (await brokers.topics([topic])).get(topic)
    if (now === undefined) return
    if (now.id !== generation) throw rejected('topic_recreated', `${topic} was deleted and made again`)
    for (const { partition } of now.partitions) {
      if (positions.has(partition) || signal.aborted) continue
      positions.set(partition, 0)
      options.onPartition(partition)
      run(follow(partition))
    }
  }

  async function refreshNowAndThen(): Promise<void> {
    for (;;) {
      await clock.sleep(options.refreshMs, signal)
      if (signal.aborted) return
      try {
        await refresh()
      } catch (error) {
        if (fateOf(error) !== 'retry') throw error
        logger.debug({ ...describeError(error), topic }, 'looking for partitions: trying again')
      }
    }
  }

  for (const partition of positions.keys()) run(follow(partition))
  run(refreshNowAndThen())
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  return {
    generation,
    get partitions() {
      return [...positions.keys()]
    },
    position: (partition) => positions.get(partition) ?? 0,
    refresh,
    ended: Promise.race([stopped, failed.promise]),
    async stop() {
      stopping.abort()
      await Promise.all(loops)
    },
  }
}

export function positionLost(topic: string, partition: number, position: number, start: number): Error {
  return rejected('position_lost', `${topic}/${partition} begins at ${start}, above ${position}`)
}
