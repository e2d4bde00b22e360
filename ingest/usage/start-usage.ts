import type { AvroType } from '../../infra/runtime/avro/avro-type.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, fateOf } from '../../infra/runtime/errors.ts'
import type { RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { once, registerContract } from '../../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { GatewayRequests } from '../../schemas/generated/records.ts'
import { GATEWAY_REQUESTS_TOPIC } from '../../schemas/topics.ts'
import { createRequestFacts } from './request-facts.ts'
import type { UsageMeter } from './usage.ts'
import { createUsageMetrics } from './usage-metrics.ts'

export interface UsageOptions {
  readonly pipeline: string
  readonly instance: string
  readonly metrics: Metrics
  readonly writer: RecordWriter
  readonly type: AvroType
  readonly schemaId: number
  readonly clock: Clock
  readonly logger: Logger
  /** How often facts are written, ms. */
  readonly intervalMs: number
  /** How long `stop` tries to write what is left, ms. */
  readonly stopWithinMs: number
  /** Facts held while Kafka is away: beyond that minutes are summed, and what has no fact is dropped and counted. */
  readonly maxFacts: number
}

/** Facts in one record batch. */
const MAX_BATCH = 500

/**
 * Counts requests as metrics and writes their facts. What could not be written is written again, in the same records, until it
 * is; `stop` writes what is left. A crash loses the facts of the last interval.
 */
export function startUsage(options: UsageOptions): Started<UsageMeter> {
  const { pipeline, writer, type, schemaId, clock, logger, intervalMs, stopWithinMs } = options
  const metrics = createUsageMetrics(options.metrics)
  const facts = createRequestFacts(options)
  const stopping = new AbortController()
  const key = Buffer.from(pipeline)
  let waiting: GatewayRequests[] = []
  let dropped = 0

  /** Rejects with what the writer rejects with; what was not acknowledged by then waits. */
  async function write(): Promise<void> {
    waiting.push(...facts.take())
    try {
      while (waiting.length > 0) {
        const batch = waiting.slice(0, MAX_BATCH)
        const records = batch.map((fact) => ({ key, value: type.encode(schemaId, fact) }))
        await writer.write([{ topic: GATEWAY_REQUESTS_TOPIC, partition: 0, records }])
        waiting = waiting.slice(batch.length)
      }
    } finally {
      facts.waiting = waiting.length
    }
  }

  /** Usage must not stop the gateway: what cannot be written stays, whatever the reason. False: another try may help. */
  async function tryToWrite(): Promise<boolean> {
    try {
      await write()
      return true
    } catch (error) {
      const passes = fateOf(error) === 'retry'
      const fields = { ...describeError(error), facts: waiting.length }
      if (passes) logger.warn(fields, 'the usage of requests waits for Kafka')
      else logger.error(fields, 'the usage of requests cannot be written')
      return !passes
    } finally {
      if (dropped > 0) logger.error({ requests: dropped }, 'requests are missing in the usage')
      dropped = 0
    }
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      await clock.sleep(intervalMs, stopping.signal)
      if (!stopping.signal.aborted) await tryToWrite()
    }
  }

  const ended = loop()
  return {
    value: {
      served(request) {
        metrics.served(request)
        if (facts.add(request, clock.now())) return
        metrics.dropped()
        dropped += 1
      },
    },
    async stop() {
      stopping.abort()
      const late = AbortSignal.timeout(stopWithinMs)
      const tooLate = new Promise<void>((resolve) => late.addEventListener('abort', () => resolve()))
      const finished = ended.then(async () => {
        while (!(await tryToWrite()) && !late.aborted) await clock.sleep(RETRY_MS, late)
      })
      await Promise.race([finished, tooLate])
      const left = [...waiting, ...facts.take()].reduce((sum, { requests }) => sum + requests, 0)
      if (left > 0)
        logger.error({ requests: left }, 'requests are missing in the usage: it could not be written in time')
    },
  }
}

const RETRY_MS = 250
const STOP_WITHIN_MS = 5_000
const MAX_FACTS = 20_000

/** The usage meter of a gateway process. */
export async function startGatewayUsage(context: StageContext, intervalMs: number): Promise<UsageMeter> {
  const { pipeline, instance, metrics, writer, clock, logger } = context
  const encoding = await once(context, 'gateway requests schema', () =>
    registerContract(context, 'gateway-requests', GATEWAY_REQUESTS_TOPIC),
  )
  const deps = { pipeline: pipeline.name, instance, metrics, writer, clock, logger, ...encoding }
  return await context.start('usage', async () =>
    startUsage({ ...deps, intervalMs, stopWithinMs: STOP_WITHIN_MS, maxFacts: MAX_FACTS }),
  )
}
