import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { TopicMetadata } from '../../infra/runtime/kafka/connections/connections.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { FeedObserver } from '../../ingest/stream/delivery.ts'
import type { FedPrediction, FeedPlace, FeedSubscription, PredictionFeed } from '../../ingest/stream/prediction-feed.ts'
import { type FeedLimits, startPredictionFeed } from '../../ingest/stream/start-prediction-feed.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { type GrowingLog, growingLog } from './growing-log.ts'
import { memoryRegistry } from './memory-registry.ts'
import { predictionOf } from './predictions.ts'

export const PIPELINE = 'flights'
export const TOPIC = 'flights.predictions'
const GENERATION = '0f8fad5b-d9cb-469f-a165-70867728950e'
const SCHEMA_ID = 7

export interface MemoryFeed {
  readonly feed: PredictionFeed
  readonly log: GrowingLog
  readonly counts: {
    queuedBytes: number
    subscribers: number
    delivered: number
    unreadable: number
    tailRecords: number
  }
  /** The topic as metadata has it. */
  readonly topic: { generation: string; partitions: number }
  /** Appends a prediction whose origin offset is its own; answers it. */
  predict(partition: number, change?: Partial<Prediction>, key?: string): number
  stop(): Promise<void>
}

/** A feed of a topic in memory. */
export async function memoryFeed(
  partitions: number,
  options: { readonly limits?: Partial<FeedLimits>; readonly setSize?: () => number } = {},
): Promise<MemoryFeed> {
  const schema = await readContract('prediction')
  const type = parseAvroSchema(schema, 'prediction')
  const log = growingLog(partitions, options.setSize)
  const topic = { generation: GENERATION, partitions }
  const counts = { queuedBytes: 0, subscribers: 0, delivered: 0, unreadable: 0, tailRecords: 0 }
  const observer: FeedObserver = {
    fed({ reading, records, delivered, unreadable }) {
      if (reading === 'tail') counts.tailRecords += records
      counts.delivered += delivered
      counts.unreadable += unreadable
    },
    queued(bytes) {
      counts.queuedBytes = Math.max(counts.queuedBytes, bytes)
    },
    subscribers(count) {
      counts.subscribers = count
    },
  }
  const { value: feed, stop } = await startPredictionFeed({
    topic: TOPIC,
    pipeline: PIPELINE,
    brokers: { topics: async () => new Map([[TOPIC, metadataOf(topic)]]) },
    log: log.reader,
    registry: memoryRegistry(new Map([[SCHEMA_ID, schema]])),
    clock: systemClock,
    logger: silentLogger,
    observer,
    limits: { idleMs: 5, refreshMs: 10, graceMs: 20, ...options.limits },
  })
  const lengths = new Map<number, number>()
  return {
    ...{ feed, log, counts, topic, stop },
    predict(partition, change = {}, key = 'key') {
      const offset = lengths.get(partition) ?? 0
      lengths.set(partition, offset + 1)
      const value = type.encode(SCHEMA_ID, predictionOf({ origin_offset: offset, ...change }))
      return log.append(partition, { key: Buffer.from(key), value })
    },
  }
}

/** In the topic as it was made first. */
export function place(position: readonly (readonly [number, number])[], generation = GENERATION): FeedPlace {
  return { generation, position: new Map(position) }
}

/** Of the event whose prediction `predict` made. */
export const idOf = (partition: number, offset: number): string => `${PIPELINE}.20260105.${partition}.${offset}`

function metadataOf({ generation, partitions }: MemoryFeed['topic']): TopicMetadata {
  const all = Array.from({ length: partitions }, (_, partition) => ({
    ...{ partition, leader: 1, leaderEpoch: 0, replicas: [1], inSync: [1] },
  }))
  return { name: TOPIC, id: generation, partitions: all }
}

/** The next so many. */
export async function take(subscription: FeedSubscription, count: number): Promise<readonly FedPrediction[]> {
  const taken: FedPrediction[] = []
  if (count === 0) return taken
  for await (const fed of subscription) {
    taken.push(fed)
    if (taken.length === count) break
  }
  return taken
}
