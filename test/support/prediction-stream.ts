import { inject, onTestFinished } from 'vitest'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig } from '../../infra/runtime/config.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { registerContract } from '../../infra/runtime/stage-contracts.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { Access, Admission } from '../../ingest/access/access.ts'
import { createApp } from '../../ingest/app.ts'
import { type StreamSettings, v1Stream } from '../../ingest/routes/v1-stream.ts'
import { type FeedLimits, startPredictionFeed } from '../../ingest/stream/start-prediction-feed.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { stageTopic } from '../../schemas/topics.ts'
import { type EventStreamClient, openEventStream } from './event-stream-client.ts'
import { lanesOn } from './lanes-on-kafka.ts'
import { copyPipeline, ORDERS } from './pipeline-copy.ts'
import { predictionOf } from './predictions.ts'

const settings = readConfig(CONNECTIONS, inject('stack').env)
const UNLIMITED = {
  ...{ requestsPerSecond: null, eventsPerSecond: null, bytesPerSecond: null },
  ...{ concurrentRequests: null, eventsPerMonth: null },
}

/**
 * A server with the stream and nothing else over a topic with that many partitions. Its credentials are tenants' names, as long as nobody
 * says otherwise.
 */
export async function streaming(
  partitions: number,
  options: {
    readonly limits?: Partial<FeedLimits>
    readonly settings?: Partial<StreamSettings>
    /** Null = as usual. */
    readonly admit?: (tenant: string) => Admission | null
    /** Done before a request is let in. */
    readonly before?: () => Promise<void>
  } = {},
) {
  const own = await lanesOn(kafkaConfig(settings).brokers)
  onTestFinished(() => own.stop())
  const { connections, admin, logReader: log } = own
  const registry = createSchemaRegistry(registryConfig(settings))
  const deps = { connections, clock: systemClock, logger: silentLogger }
  const writer = createIdempotentWriter(deps)
  onTestFinished(() => writer.stop())
  const { name, folder } = copyPipeline(ORDERS)
  const pipeline = { ...(await loadPipeline(folder)), name }
  pipeline.event = { ...pipeline.event, tenant: { from: 'header' } }
  const topic = stageTopic(name, 'predictions')
  const createTopic = () => admin.createTopic({ name: topic, partitions, replicas: 1, config: {} })
  await createTopic()
  const { type, schemaId } = await registerContract({ registry }, 'prediction', topic)

  const counts = { tail: 0, caughtUp: 0, subscribers: 0, opened: 0, queuedBytes: 0 }
  const feed = await startPredictionFeed({
    ...{ topic, pipeline: name, brokers: connections, log, registry, clock: systemClock, logger: silentLogger },
    observer: {
      fed({ reading, records }) {
        counts[reading === 'tail' ? 'tail' : 'caughtUp'] += records
      },
      queued(bytes) {
        counts.queuedBytes = Math.max(counts.queuedBytes, bytes)
      },
      subscribers(count) {
        if (count > counts.subscribers) counts.opened += 1
        counts.subscribers = count
      },
    },
    limits: { refreshMs: 200, idleMs: 20, ...options.limits },
  })
  onTestFinished(() => feed.stop())
  const draining = new AbortController()
  const access: Access = {
    async admit({ authorization = '' }) {
      const tenant = String(authorization).replace('Bearer ', '')
      const otherwise = options.admit?.(tenant) ?? null
      if (otherwise !== null) return otherwise
      const scopes = new Set(['read'] as const)
      return {
        ok: true,
        principal: { name: tenant, tenant, scopes, credential: tenant, limits: UNLIMITED, tenantLimits: UNLIMITED },
      }
    },
  }
  const app = await createApp({
    access,
    limits: {
      async take() {
        await options.before?.()
        return { ok: true, standings: [], retryAfterSeconds: 0 }
      },
      giveBack: async () => {},
      enter: () => () => {},
    },
    usage: { served: () => {} },
    logger: silentLogger,
    ...{ maxBodyBytes: 1_000, headersTimeoutMs: 5_000, requestTimeoutMs: 5_000, maxHeaderBytes: 16_384 },
    maxConnections: 1_000,
    plugins: [
      v1Stream({
        ...{ pipeline, access, feed: feed.value, clock: systemClock, logger: silentLogger, draining: draining.signal },
        ...(options.settings === undefined ? {} : { settings: options.settings }),
      }),
    ],
  })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  onTestFinished(() => app.close())
  const written = new Map<number, number>()
  let lanes = partitions

  return {
    ...{ name, topic, admin, counts, draining, createTopic, app },
    url: `${address}/v1/pipelines/${name}/predictions/stream`,
    /** So many predictions to each partition; their origin offsets count up. */
    async predict(tenant: string, count: number, change: Partial<Prediction> = {}) {
      const batches = Array.from({ length: lanes }, (_, partition) => {
        const first = written.get(partition) ?? 0
        written.set(partition, first + count)
        const records = Array.from({ length: count }, (_, at) => {
          const origin_offset = first + at
          const value = type.encode(schemaId, predictionOf({ tenant, origin_offset, ...change }))
          return { key: Buffer.from(`key-${at % 3}`), value }
        })
        return { topic, partition, records }
      })
      await writer.value.write(batches)
    },
    async grow(total: number) {
      await admin.addPartitions(topic, total)
      lanes = total
    },
    open: (tenant: string, lastId: string | null = null, query = ''): Promise<EventStreamClient> =>
      openEventStream(`${address}/v1/pipelines/${name}/predictions/stream${query}`, {
        authorization: `Bearer ${tenant}`,
        ...(lastId === null ? {} : { 'last-event-id': lastId }),
      }),
  }
}
