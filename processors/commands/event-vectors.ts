import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { SchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, readConfig, STAGE } from '../../infra/runtime/config.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { connectRedis } from '../../infra/runtime/redis/redis-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { FeatureVector } from '../../schemas/generated/records.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import type { EventRecord } from '../compile/step.ts'
import { PROCESSORS } from '../config.ts'
import { createFeaturesOfBatch } from '../features-of-batch.ts'
import { createRedisTables } from '../lookups/redis-tables.ts'

export interface EventVectors {
  /** In the order of their events. */
  readonly vectors: readonly FeatureVector[]
  /** Events that have none. */
  readonly refused: number
}

/**
 * What the processors make of events, apart from the stage: with lookups from Redis as it is now, and with repeats of an event id, which
 * the stage may filter. Calls reject with a `retry` error of the registry or the tables.
 */
export async function startEventVectors(
  pipelineFolder: string,
  registry: SchemaRegistry,
  env: NodeJS.ProcessEnv,
): Promise<Started<(batch: RecordBatch) => Promise<EventVectors>>> {
  const pipeline = await loadPipeline(pipelineFolder)
  const { redisUrl, redisCa } = readConfig(CONNECTIONS, env)
  const { unknownSchemaWaitMs } = readConfig({ unknownSchemaWaitMs: STAGE.unknownSchemaWaitMs }, env)
  const { redisTimeoutMs, cacheMaxEntries, cacheTtlMs } = readConfig(PROCESSORS, env)
  const clock = systemClock
  const readerOf = (schema: AvroSchema, name: string) =>
    createAvroReader<EventRecord>({ schema, name, registry, clock, unknownSchemaWaitMs })
  const redis = connectRedis({
    url: redisUrl,
    tls: redisCa === undefined ? undefined : { ca: redisCa },
    commandTimeoutMs: redisTimeoutMs,
    logger: silentLogger,
  })
  const tables = createRedisTables({
    pipeline: pipeline.name,
    tables: pipeline.tables.map((table) => ({ table, reader: readerOf(table.schema, `table ${table.name}`) })),
    redis,
    clock,
    cacheMaxEntries,
    cacheTtlMs,
    observer: { looked: () => {}, availability: () => {} },
  })
  const outcomesOf = createFeaturesOfBatch({ pipeline, events: readerOf(pipeline.event.schema, 'event'), tables })
  return {
    async value(batch) {
      const [outcomes = []] = await outcomesOf([batch])
      const vectors: FeatureVector[] = []
      for (const outcome of outcomes) {
        if (outcome.ok) vectors.push(outcome.vector)
        else if ('deferral' in outcome) throw retryable(outcome.deferral.code, outcome.deferral.message)
      }
      return { vectors, refused: outcomes.length - vectors.length }
    },
    stop: () => redis.close(),
  }
}
