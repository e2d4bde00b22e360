import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import type { TakeLimits } from '../../infra/runtime/kafka/consumer/take-limits.ts'
import type { HopObserver } from '../../infra/runtime/kafka/hop/hop-observer.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { startRedis } from '../../infra/runtime/redis/start-redis.ts'
import { startStageHop } from '../../infra/runtime/stage-hop.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import type { CompiledTable } from '../../schemas/pipeline/compiled.ts'
import { consumerGroup } from '../../schemas/topics.ts'
import { createTableLoader } from './table-loader.ts'
import type { TableRecord } from './table-rows.ts'
import { createTableWriter, type TableWriterDeps } from './table-writer.ts'

export interface TablesOptions {
  readonly redisTimeoutMs: number
  readonly tableCheckMs: number
  readonly limits: TakeLimits
  readonly hopObserver: (hop: string) => HopObserver
  readonly observer: TableWriterDeps['observer']
}

/** Lookups wait for rows: unlike inserts, small writes cost little. */
const LINGER_MS = 5

/** Keeps every table of the pipeline in Redis, each by a hop of its own. */
export async function startTables(context: StageContext, options: TablesOptions): Promise<void> {
  const { pipeline } = context
  const redis = await startRedis(context, 'Redis', options.redisTimeoutMs)
  for (const table of pipeline.tables) await startTable(context, options, redis, table)
}

async function startTable(
  context: StageContext,
  options: TablesOptions,
  redis: RedisClient,
  table: CompiledTable,
): Promise<void> {
  const { pipeline, brokers, admin, registry, clock, logger, config } = context
  const hop = `sinks-table-${table.name}`
  const reader = createAvroReader<TableRecord>({
    schema: table.schema,
    name: `table ${table.name}`,
    registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })
  const loader = await context.start(`${hop} positions`, async () => {
    const generation = (await brokers.topics([table.topic])).get(table.topic)?.id
    if (generation === undefined) throw retryable('unknown_topic', `the topic ${table.topic} does not exist`)
    const loader = createTableLoader({
      pipeline: pipeline.name,
      table: table.name,
      generation,
      ranges: () => admin.ranges(table.topic),
      redis,
      clock,
      retry: context.retry,
      checkMs: options.tableCheckMs,
      logger,
    })
    return { value: loader, stop: async () => loader.giveUp() }
  })

  const started = await startStageHop(context, {
    name: hop,
    group: consumerGroup(pipeline.name, `sinks.${table.name}`),
    topic: table.topic,
    output: null,
    limits: { ...options.limits, lingerMs: Math.min(options.limits.lingerMs, LINGER_MS) },
    startAt: (partition) => loader.startAt(partition),
    handler: createTableWriter({ pipeline: pipeline.name, table, reader, redis, observer: options.observer }),
    observer: options.hopObserver(hop),
  })
  await context.start(`${hop} check`, async () => {
    const { ended, stop } = loader.run({
      positions: () => new Map([...started.source.positions()].map(([partition, { settled }]) => [partition, settled])),
      restart: () => started.restart(),
    })
    context.watch({ ended, health: { live: () => null, ready: () => loader.waitsFor() } })
    return { value: null, stop }
  })
}
