import type { SchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, fateOf, rejected, retryable } from '../../infra/runtime/errors.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import { createCatchUp } from './catch-up.ts'
import { createDelivery, type FeedObserver } from './delivery.ts'
import type { FeedFilter, FeedPlace, FeedSubscription, PredictionFeed } from './prediction-feed.ts'
import { createPredictionRows } from './prediction-rows.ts'
import { createSubscriber, type Subscriber, type SubscriberLimits } from './subscriber.ts'
import { ISOLATION, PATIENCE_MS, positionLost, startTopicTail, type TopicTail } from './topic-tail.ts'

export interface FeedLimits extends SubscriberLimits {
  readonly maxSubscribers: number
  /** Of all together, however they read: above it the one for whom most waits is ended. */
  readonly maxTotalBytes: number
  /** How many subscribers may read the log by themselves at a time, each two fetches of it. */
  readonly maxCatchingUp: number
  /** How long the log is read on after the last subscriber. */
  readonly graceMs: number
  readonly idleMs: number
  readonly refreshMs: number
}

const FEED_LIMITS: FeedLimits = {
  maxQueuedBytes: 4_194_304,
  maxQueuedItems: 10_000,
  maxSubscribers: 1_000,
  maxTotalBytes: 134_217_728,
  maxCatchingUp: 8,
  graceMs: 30_000,
  idleMs: 200,
  refreshMs: 5_000,
}

/** A leader that was just elected may not know the log's end: it is looked at again before a position is said to be above it. */
const END_LOOKS = 5
const END_LOOK_MS = 200

export interface PredictionFeedOptions {
  /** Of primary predictions: `<p>.predictions`. */
  readonly topic: string
  readonly pipeline: string
  readonly brokers: Pick<KafkaConnections, 'topics'>
  readonly log: LogReader
  readonly registry: SchemaRegistry
  readonly clock: Clock
  readonly logger: Logger
  readonly observer: FeedObserver
  readonly limits?: Partial<FeedLimits>
}

/** Reads nothing from Kafka before somebody subscribes. */
export async function startPredictionFeed(options: PredictionFeedOptions): Promise<Started<PredictionFeed>> {
  const { topic, pipeline, brokers, log, registry, clock, logger, observer } = options
  const limits = { ...FEED_LIMITS, ...options.limits }
  const rows = createPredictionRows({ pipeline, schema: await readContract('prediction'), registry, clock, logger })
  const delivery = createDelivery(rows, observer)
  const subscribers = new Set<Subscriber>()
  /** For all of them, and for those that are ended and have not taken it yet. */
  const queued = { bytes: 0 }
  const stopping = new AbortController()
  let tail: Promise<TopicTail> | null = null
  let grace = new AbortController()
  /** Who will be subscribers soon. */
  let coming = 0

  const endAll = (error: Error): void => {
    for (const subscriber of [...subscribers]) subscriber.end(error)
  }

  async function startTail(): Promise<TopicTail> {
    const started = await startTopicTail({
      ...{ topic, brokers, log, clock, logger, prepare: rows.prepare },
      idleMs: limits.idleMs,
      refreshMs: limits.refreshMs,
      onRecords(partition: number, set: RecordSet) {
        delivery.live(partition, set)
        boundTotal()
      },
      onPartition(partition) {
        for (const subscriber of subscribers) {
          subscriber.pass(partition, 0)
          subscriber.join(partition)
        }
      },
      onLost(partition, error) {
        for (const subscriber of [...subscribers]) if (subscriber.hasJoined(partition)) subscriber.end(error)
      },
    })
    started.ended.catch((error: unknown) => {
      // what was made again may be subscribed to at once; anything else is told to whoever comes next
      tail = null
      logger[fateOf(error) === 'crash' ? 'error' : 'warn'](
        { ...describeError(error), topic },
        'predictions cannot be followed any more',
      )
      endAll(error as Error)
      return started.stop()
    })
    return started
  }

  /** The one that is there, or a new one; one that could not be started is tried anew by the next who asks. */
  function theTail(): Promise<TopicTail> {
    if (tail === null) {
      const starting = startTail()
      tail = starting
      starting.catch(() => {
        if (tail === starting) tail = null
      })
    }
    return tail
  }

  async function stopTail(): Promise<void> {
    const running = tail
    tail = null
    if (running === null) return
    const outcome = await running.then(
      (started) => started,
      () => null,
    )
    await outcome?.stop()
  }

  async function stopAfterGrace(): Promise<void> {
    if (stopping.signal.aborted) return
    grace.abort()
    grace = new AbortController()
    const { signal } = grace
    await clock.sleep(limits.graceMs, signal)
    if (!signal.aborted && isUnused()) await stopTail()
  }

  const isUnused = (): boolean => subscribers.size === 0 && coming === 0

  function boundTotal(): void {
    observer.queued(queued.bytes)
    while (queued.bytes > limits.maxTotalBytes) {
      let largest: Subscriber | null = null
      for (const subscriber of subscribers) {
        if (subscriber.queuedBytes > (largest?.queuedBytes ?? 0)) largest = subscriber
      }
      if (largest === null) return
      largest.drop(rejected('subscriber_too_slow', `more than ${limits.maxTotalBytes} bytes wait for all subscribers`))
    }
  }

  /** Rejects with `position_lost` when the log does not reach from there to here. */
  async function checkReach(from: FeedPlace, tail: TopicTail, closed: AbortSignal): Promise<void> {
    if (from.generation !== tail.generation) {
      throw rejected('topic_recreated', `${topic} was deleted and made again since that position`)
    }
    const unknown = () => [...from.position.keys()].find((partition) => !tail.partitions.includes(partition))
    // a gateway that heard of new partitions first has told of them in its positions
    if (unknown() !== undefined) await tail.refresh()
    const missing = unknown()
    if (missing !== undefined) throw retryable('partition_unknown', `${topic} has no partition ${missing} yet`)
    const { partitions, position } = tail
    const signal = AbortSignal.any([closed, AbortSignal.timeout(PATIENCE_MS)])
    const checks = partitions.map(async (partition) => {
      const offset = from.position.get(partition) ?? 0
      if (offset === position(partition)) return
      for (let attempt = 0; ; attempt++) {
        const { start, end } = await log.range(topic, partition, ISOLATION, signal)
        if (start > offset) throw positionLost(topic, partition, offset, start)
        if (end >= offset) return
        if (attempt === END_LOOKS)
          throw rejected('position_lost', `${topic}/${partition} ends at ${end}, below ${offset}`)
        await clock.sleep(END_LOOK_MS, signal)
      }
    })
    await Promise.all(checks)
  }

  const catchUp = createCatchUp({
    ...{ topic, log, clock, rows, maxAtATime: limits.maxCatchingUp },
    deliver(partition, set, subscriber) {
      delivery.own(partition, set, subscriber)
      boundTotal()
    },
  })

  /** The tail that it can be joined to, found to reach from there. */
  async function tailFrom(from: FeedPlace | null, signal: AbortSignal): Promise<TopicTail> {
    const asked = theTail()
    const found = await asked
    if (from !== null) await checkReach(from, found, signal)
    if (tail !== asked) throw retryable('kafka_unavailable', `the reading of ${topic} was interrupted`)
    return found
  }

  async function subscribe(filter: FeedFilter, from: FeedPlace | null, signal: AbortSignal): Promise<FeedSubscription> {
    if (stopping.signal.aborted) throw retryable('feed_stopped', 'the gateway is shutting down')
    if (subscribers.size + coming >= limits.maxSubscribers) {
      throw retryable('too_many_subscribers', `${limits.maxSubscribers} subscribers are served already`)
    }
    coming += 1
    grace.abort()
    try {
      return join(filter, from, signal, await tailFrom(from, signal))
    } finally {
      coming -= 1
      if (isUnused()) void stopAfterGrace()
    }
  }

  function join(filter: FeedFilter, from: FeedPlace | null, signal: AbortSignal, tail: TopicTail): FeedSubscription {
    const { partitions, position, generation } = tail
    const offsetOf = (at: number): number => (from === null ? position(at) : (from.position.get(at) ?? 0))
    const ending = new AbortController()
    const end = (): void => subscriber.end(null)
    const start = new Map(partitions.map((at) => [at, offsetOf(at)]))
    const subscriber = createSubscriber(filter, start, { ...limits, queued }, () => {
      signal.removeEventListener('abort', end)
      ending.abort()
      subscribers.delete(subscriber)
      delivery.remove(subscriber)
      observer.subscribers(subscribers.size)
      if (isUnused()) void stopAfterGrace()
    })
    subscribers.add(subscriber)
    delivery.add(subscriber)
    observer.subscribers(subscribers.size)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
    catchUp(subscriber, tail, ending.signal).catch((error: unknown) => {
      const { code, message } = describeError(error)
      subscriber.end(code === 'position_lost' ? rejected(code, message, error) : (error as Error))
    })
    return {
      generation,
      position: subscriber.position,
      [Symbol.asyncIterator]: () => subscriber[Symbol.asyncIterator](),
    }
  }

  return {
    value: { subscribe },
    async stop() {
      stopping.abort()
      grace.abort()
      for (const subscriber of [...subscribers]) subscriber.end(null)
      await stopTail()
    },
  }
}
