import { createAvroReader } from '../infra/runtime/avro/avro-reader.ts'
import { type AvroType, parseAvroSchema } from '../infra/runtime/avro/avro-type.ts'
import type { Compiled } from '../infra/runtime/config.ts'
import type { BatchHandler } from '../infra/runtime/kafka/outcome.ts'
import { startRedis } from '../infra/runtime/redis/start-redis.ts'
import { readContract } from '../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../infra/runtime/stage-process.ts'
import { REPLAY_OF_HEADER } from '../schemas/headers.ts'
import type { AvroSchema } from '../schemas/pipeline/compiled.ts'
import type { EventRecord } from './compile/step.ts'
import type { PROCESSORS } from './config.ts'
import { createReadBack } from './dedupe/read-back.ts'
import { withoutRepeats } from './dedupe/without-repeats.ts'
import { createInstruments } from './instruments.ts'
import { createRedisTables } from './lookups/redis-tables.ts'
import type { ProcessBatchDeps } from './process-batch.ts'

export interface Processing {
  /** What a handler of events is made from; `schemaId` is that of the records which its vectors go into. */
  deps(schemaId: number): ProcessBatchDeps
  /** The handler, with repeated event ids filtered where the pipeline asks for it. */
  filtered(handler: BatchHandler): BatchHandler
}

/** Connects what the processors' work needs, whatever process it is done in. */
export async function startProcessing(context: StageContext, own: Compiled<typeof PROCESSORS>): Promise<Processing> {
  const { pipeline, config, registry, clock, logger, metrics, log } = context
  const observer = createInstruments(metrics, logger)
  const readerOf = (schema: AvroSchema, name: string) =>
    createAvroReader<EventRecord>({ schema, name, registry, clock, unknownSchemaWaitMs: config.unknownSchemaWaitMs })
  const events = readerOf(pipeline.event.schema, 'event')
  const vector: AvroType = parseAvroSchema(await readContract('feature-vector'), 'feature vector')

  const redis = await startRedis(context, 'Redis', own.redisTimeoutMs)
  const tables = createRedisTables({
    pipeline: pipeline.name,
    tables: pipeline.tables.map((table) => ({ table, reader: readerOf(table.schema, `table ${table.name}`) })),
    redis,
    clock,
    cacheMaxEntries: own.cacheMaxEntries,
    cacheTtlMs: own.cacheTtlMs,
    observer,
  })
  return {
    deps: (schemaId) => ({
      pipeline,
      events,
      tables,
      schemaId,
      encode: (record) => vector.encode(schemaId, record),
      observer,
    }),
    filtered(handler) {
      if (pipeline.dedupe === null) return handler
      return withoutRepeats(handler, {
        window: pipeline.dedupe.window,
        replayOfHeader: REPLAY_OF_HEADER,
        readBack: createReadBack({ log, event: pipeline.event, events }),
      })
    },
  }
}
