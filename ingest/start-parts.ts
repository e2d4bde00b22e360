import type { Compiled } from '../infra/runtime/config.ts'
import { startControlLog } from '../infra/runtime/control/start-control-log.ts'
import { startRedis } from '../infra/runtime/redis/start-redis.ts'
import { once } from '../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../infra/runtime/stage-process.ts'
import type { AvroSchema } from '../schemas/pipeline/compiled.ts'
import { stageTopic } from '../schemas/topics.ts'
import { jwtSettings } from './access/config.ts'
import { createAccess } from './access/create-access.ts'
import { createLastUsed } from './access/last-used.ts'
import { startAnswers } from './answers/start-answers.ts'
import type { INGEST } from './config.ts'
import { startDependencyCheck } from './dependencies.ts'
import type { GatewayParts } from './gateway-parts.ts'
import { createInstruments, feedInstruments, limitsInstruments, overloadInstruments } from './instruments.ts'
import { type Intakes, startIntakes } from './intake/start-intakes.ts'
import { createLimits } from './limits/create-limits.ts'
import { createEventReader } from './mapping/create-event-reader.ts'
import { bodyLimits } from './plugins/bodies.ts'
import { createHeldBytes } from './plugins/held-bytes.ts'
import { overload } from './plugins/overload.ts'
import { startPredictionFeed } from './stream/start-prediction-feed.ts'
import { startGatewayUsage } from './usage/start-usage.ts'

/** No registry gives out this id: asking for it shows whether the registry answers, and is never cached. */
const UNUSED_SCHEMA_ID = 2_147_483_647
const ADMIN_REDIS_WITHIN_MS = 1_000
const ADMIN_BODY_BYTES = 65_536
const ADMIN_HELD_BYTES = 4_194_304

/** Starts what a gateway's routes are made from, each with its own connections. */
export async function startParts(context: StageContext, own: Compiled<typeof INGEST>): Promise<GatewayParts> {
  const { pipeline, clock, logger, metrics } = context
  const control = await context.start('control log', () => startControlLog(context))
  context.watch({ ended: control.ended, health: { live: () => null, ready: () => null } })
  const dependencies = await startDependencies(context, own)
  const intakes = await startIntakes(context, own)
  const held = createHeldBytes(own.maxHeldBytes)
  const lastUsed = createLastUsed({ redis: await startRedis(context, 'Redis for last uses', own.redisMs), clock })
  return {
    access: createAccess({ control, jwt: jwtSettings(own), maxStaleMs: own.accessMaxStaleMs, clock, logger, lastUsed }),
    usage: await startGatewayUsage(context, own.usageIntervalMs),
    intakes,
    control,
    dependencies,
    redis: await startRedis(context, 'Redis for the admin', ADMIN_REDIS_WITHIN_MS),
    readers: await startReaders(context),
    limits: createLimits({
      redis: await startRedis(context, 'Redis for limits', own.redisMs),
      replicas: own.replicas,
      clock,
      observer: limitsInstruments(metrics, logger),
    }),
    feed: await context.start('prediction feed', () =>
      startPredictionFeed({
        ...context,
        topic: stageTopic(pipeline.name, 'predictions'),
        pipeline: pipeline.name,
        observer: feedInstruments(metrics),
      }),
    ),
    before: [
      bodyLimits({ maxBodyBytes: own.maxBodyBytes, held }),
      overload({
        maxMemoryBytes: context.config.maxMemoryBytes,
        held,
        backlog: { of: () => backlogOf(intakes), maxBytes: own.maxBytesInFlight },
        clock,
        observer: overloadInstruments(metrics),
      }),
    ],
    adminBefore: [bodyLimits({ maxBodyBytes: ADMIN_BODY_BYTES, held: createHeldBytes(ADMIN_HELD_BYTES) })],
    answers: await startAnswers(context),
  }
}

function backlogOf({ events, labels }: Intakes): { readonly bytes: number; readonly oldestMs: number } {
  const [first, second] = [events.backlog(), labels?.backlog() ?? { bytes: 0, oldestMs: 0 }]
  return { bytes: first.bytes + second.bytes, oldestMs: Math.max(first.oldestMs, second.oldestMs) }
}

async function startReaders(context: StageContext): Promise<GatewayParts['readers']> {
  const { pipeline, registry } = context
  const { event, label, http } = pipeline
  const idOf = ({ subject, schema }: { readonly subject: string; readonly schema: AvroSchema }): Promise<number> =>
    once(context, `schema ${subject}`, () => registry.register(subject, schema))
  const events = createEventReader({ ...event, schemaId: await idOf(event), mapping: http })
  if (label === null) return { events, labels: null }
  const { idField } = label
  const schemaId = await idOf(label)
  const labels = createEventReader({ ...label, schemaId, keyField: idField, mapping: null, idRequired: true })
  return { events, labels }
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
