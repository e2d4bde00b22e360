import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { clickHouseConfig } from '../../infra/runtime/config.ts'
import { startRedis } from '../../infra/runtime/redis/start-redis.ts'
import { once, readContract } from '../../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { gatewayChannel } from '../../schemas/redis-keys.ts'
import type { Answers } from './answers.ts'
import { createAnswersMetrics } from './answers-metrics.ts'
import { createBells } from './bells.ts'
import { createAnswers } from './create-answers.ts'
import { createEventLog } from './event-log.ts'
import { createRecentEvents } from './recent-events.ts'
import { createStoredEvents } from './stored-events.ts'

/** A request that asks would rather hear that a store is away than wait longer, ms. */
const REDIS_WITHIN_MS = 1_000
const CLICKHOUSE_WITHIN_MS = 5_000
const MAX_WAITING = 20_000
/** Without `dedupe` no event is left out as a repetition any more; those from before it was turned off are looked for so far back. */
const REPEAT_WINDOW = 100_000

/** Answers with what they are asked of: Redis and ClickHouse need not be there. When it stops nobody must wait any more. */
export async function startAnswers(context: StageContext): Promise<Answers> {
  const { pipeline, connections, brokers, registry, clock, metrics, instance: gatewayId, config } = context
  const bells = createBells(clock)
  const redis = await startRedis(context, 'Redis of answers', REDIS_WITHIN_MS)
  const clickhouse = await context.start('ClickHouse of answers', async () => {
    const client = createClickHouse(clickHouseConfig(connections, CLICKHOUSE_WITHIN_MS))
    return { value: client, stop: () => client.close() }
  })
  const reader = createAvroReader<Prediction>({
    schema: await readContract('prediction'),
    name: 'prediction',
    registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })
  const log = createEventLog({ event: pipeline.event, connections: brokers, clock })
  await once(context, 'id of the events topic', () => log.refresh())
  await context.start('news of answers', async () => {
    const unsubscribe = redis.subscribe(gatewayChannel(pipeline.name, gatewayId), bells.ring)
    return { value: undefined, stop: async () => unsubscribe() }
  })
  return createAnswers({
    recent: createRecentEvents({ redis, pipeline: pipeline.name, gatewayId, reader }),
    stored: createStoredEvents({
      clickhouse,
      pipeline: pipeline.name,
      eventsTopic: pipeline.event.topic,
      repeatWindow: pipeline.dedupe?.window ?? REPEAT_WINDOW,
    }),
    log,
    bells,
    maxWaiting: MAX_WAITING,
    clock,
    observer: createAnswersMetrics(metrics),
  })
}
