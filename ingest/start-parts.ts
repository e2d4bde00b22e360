import type { Compiled } from '../infra/runtime/config.ts'
import { startControlLog } from '../infra/runtime/control/start-control-log.ts'
import { connectRedis, type RedisClient } from '../infra/runtime/redis/redis-client.ts'
import type { StageContext } from '../infra/runtime/stage-process.ts'
import { jwtSettings } from './access/config.ts'
import { createAccess } from './access/create-access.ts'
import { createLastUsed } from './access/last-used.ts'
import type { INGEST } from './config.ts'
import { startDependencyCheck } from './dependencies.ts'
import { createInstruments } from './instruments.ts'
import { startIntakes } from './intake/start-intakes.ts'
import type { GatewayParts } from './start-gateway.ts'
import { startGatewayUsage } from './usage/start-usage.ts'

/** No registry gives out this id: asking for it shows whether the registry answers, and is never cached. */
const UNUSED_SCHEMA_ID = 2_147_483_647
/** What a request waits for Redis at most, ms. */
const REDIS_WITHIN_MS = 20

type Missing = Pick<GatewayParts, 'readers' | 'answers' | 'limits'>

/** Starts what a gateway's routes are made from, each with its own connections. */
export async function startParts(
  context: StageContext,
  own: Compiled<typeof INGEST>,
  missing: Missing,
): Promise<GatewayParts> {
  const { clock, logger } = context
  const control = await context.start('control log', () => startControlLog(context))
  context.watch({ ended: control.ended, health: { live: () => null, ready: () => null } })
  const dependencies = await startDependencies(context, own)
  const lastUsed = createLastUsed({ redis: await redisFor(context, 'Redis for last uses'), clock })
  return {
    access: createAccess({ control, jwt: jwtSettings(own), maxStaleMs: own.accessMaxStaleMs, clock, logger, lastUsed }),
    usage: await startGatewayUsage(context, own.usageIntervalMs),
    intakes: await startIntakes(context, own),
    control,
    dependencies,
    plugins: [],
    routes: [],
    admin: null,
    ...missing,
  }
}

async function startDependencies(
  context: StageContext,
  own: Compiled<typeof INGEST>,
): Promise<GatewayParts['dependencies']> {
  const { pipeline, admin, registry, clock, metrics, logger } = context
  const { topic } = pipeline.event
  const check = await context.start('dependency check', async () =>
    startDependencyCheck({
      dependencies: [
        {
          name: 'events topic',
          async check() {
            const exists = (await admin.partitionCounts([topic])).has(topic)
            return exists ? null : `${topic} does not exist`
          },
        },
        {
          name: 'schema registry',
          async check() {
            await registry.schemaById(UNUSED_SCHEMA_ID)
            return null
          },
        },
      ],
      intervalMs: own.checkIntervalMs,
      clock,
      observer: createInstruments(metrics, logger),
    }),
  )
  context.watch(check)
  return check.health
}

/** A connection whose calls answer or fail within the time that a request may wait. */
async function redisFor({ connections, logger, start }: StageContext, name: string): Promise<RedisClient> {
  const { redisUrl: url, redisCa } = connections
  const tls = redisCa === undefined ? undefined : { ca: redisCa }
  return await start(name, async () => {
    const client = connectRedis({ url, tls, commandTimeoutMs: REDIS_WITHIN_MS, logger })
    return { value: client, stop: () => client.close() }
  })
}
