import { createAvroReader } from '../infra/runtime/avro/avro-reader.ts'
import { connectRedis } from '../infra/runtime/redis/redis-client.ts'
import { registerContract, startStageHop } from '../infra/runtime/stage-hop.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import type { AvroSchema } from '../schemas/pipeline/compiled.ts'
import { consumerGroup, stageTopic } from '../schemas/topics.ts'
import type { EventRecord } from './compile/step.ts'
import { PROCESSORS } from './config.ts'
import { createInstruments } from './instruments.ts'
import { createRedisTables } from './lookups/redis-tables.ts'
import { createProcessBatch, FEATURES_OUTPUT } from './process-batch.ts'

await runStage('processors', PROCESSORS, async (context, own) => {
  const { pipeline, connections, config, registry, clock, logger, metrics } = context
  const instruments = createInstruments(metrics, logger)
  const output = stageTopic(pipeline.name, FEATURES_OUTPUT)
  const readerOf = (schema: AvroSchema, name: string) =>
    createAvroReader<EventRecord>({ schema, name, registry, clock, unknownSchemaWaitMs: config.unknownSchemaWaitMs })

  const { type, schemaId } = await context.start('feature vector schema', async () => ({
    value: await registerContract(context, 'feature-vector', output),
    stop: async () => {},
  }))
  const redis = await context.start('Redis', async () => {
    const client = connectRedis({
      url: connections.redisUrl,
      tls: connections.redisCa === undefined ? undefined : { ca: connections.redisCa },
      commandTimeoutMs: own.redisTimeoutMs,
      logger,
    })
    return { value: client, stop: () => client.close() }
  })
  const tables = createRedisTables({
    pipeline: pipeline.name,
    tables: pipeline.tables.map((table) => ({ table, reader: readerOf(table.schema, `table ${table.name}`) })),
    redis,
    clock,
    cacheMaxEntries: own.cacheMaxEntries,
    cacheTtlMs: own.cacheTtlMs,
    observer: instruments,
  })

  await startStageHop(context, {
    name: 'processors',
    group: consumerGroup(pipeline.name, 'processors'),
    topic: pipeline.event.topic,
    outputs: { [FEATURES_OUTPUT]: output },
    limits: { maxRows: own.maxRows, maxBytes: own.maxBytes, lingerMs: own.lingerMs },
    handler: () =>
      createProcessBatch({
        pipeline,
        events: readerOf(pipeline.event.schema, 'event'),
        tables,
        schemaId,
        encode: (vector) => type.encode(schemaId, vector),
        observer: instruments,
      }),
    observer: hopMetrics(metrics)('processors'),
  })
})
