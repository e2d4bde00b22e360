import { retryable } from '../../infra/runtime/errors.ts'
import type { Health } from '../../infra/runtime/http/ops-server.ts'
import { startRedis } from '../../infra/runtime/redis/start-redis.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import { createFinishedRequests } from './finished-requests.ts'
import { type RunningIntake, startIntake } from './start-intake.ts'

export interface IntakeSettings {
  readonly lingerMs: number
  readonly publishMs: number
  readonly maxBytesInFlight: number
  /** What a request waits for Redis at most. */
  readonly redisMs: number
}

export type IntakeContext = Pick<
  StageContext,
  | 'pipeline'
  | 'connections'
  | 'config'
  | 'admin'
  | 'writer'
  | 'clock'
  | 'retry'
  | 'logger'
  | 'metrics'
  | 'start'
  | 'watch'
>

export interface Intakes {
  readonly events: RunningIntake
  /** Null for a pipeline without labels. */
  readonly labels: RunningIntake | null
}

const HEALTHY: Health = { live: () => null, ready: () => null }

/** Waits for the topics to be there. */
export async function startIntakes(context: IntakeContext, settings: IntakeSettings): Promise<Intakes> {
  const { pipeline, admin, clock, metrics } = context
  const { name, event, label } = pipeline
  const away = metrics.counter(
    'millrace_gateway_finished_requests_unavailable_total',
    'Requests with an idempotency key that went through Kafka again because Redis did not answer',
    ['input'],
  )
  const retries = metrics.counter('millrace_gateway_publish_retries_total', 'Batches that were tried again', ['input'])
  const redis = await startRedis(context, 'Redis for finished requests', settings.redisMs)

  async function intake(what: 'events' | 'labels', topic: string): Promise<RunningIntake> {
    const started = await context.start(`intake of ${what}`, async () => {
      const partitions = (await admin.partitionCounts([topic])).get(topic)
      if (partitions === undefined) throw retryable('unknown_topic', `${topic} does not exist`)
      return startIntake({
        ...context,
        topic,
        partitions,
        pipeline: what === 'events' ? name : null,
        tenantHeader: 'from' in event.tenant,
        lingerMs: settings.lingerMs,
        publishWithinMs: settings.publishMs,
        maxBytesInFlight: settings.maxBytesInFlight,
        stopWithinMs: Math.min(settings.publishMs, context.config.shutdownMs / 2),
        finished: createFinishedRequests({
          redis,
          pipeline: name,
          what,
          clock,
          onUnavailable: () => away.add(1, { input: what }),
        }),
        onRetry: () => retries.add(1, { input: what }),
      })
    })
    context.watch({ ended: started.ended, health: HEALTHY })
    return started
  }

  const events = await intake('events', event.topic)
  return { events, labels: label === null ? null : await intake('labels', label.topic) }
}
