import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { LaneHooks } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import type { TakeLimits } from '../../infra/runtime/kafka/consumer/take-limits.ts'
import { startWatchdog } from '../../infra/runtime/lifecycle/watchdog.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { startRedis } from '../../infra/runtime/redis/start-redis.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import { joinStageGroup } from '../../infra/runtime/stage-lanes.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { consumerGroup, stageTopic } from '../../schemas/topics.ts'
import { type AnswerReader, predictionAnswers, rejectionAnswers } from './read-answers.ts'
import { type ResultsObserver, runResults } from './results-loop.ts'
import { storeAnswers } from './store-answers.ts'

export interface ResultsOptions {
  readonly resultsTtlMs: number
  readonly redisTimeoutMs: number
  readonly limits: TakeLimits
  readonly observer: (input: 'predictions' | 'dead-letters') => ResultsObserver
}

/**
 * Puts the end of every event into Redis for a while, for gateways that wait for it or are asked. It reads with groups of its own,
 * makes no claim and writes no dead letter: ClickHouse has all of it, so nothing else waits when Redis is away.
 */
export async function startResults(context: StageContext, options: ResultsOptions): Promise<void> {
  if (options.resultsTtlMs === 0) return
  const { registry, clock, config } = context
  const redis = await startRedis(context, 'Redis of results', options.redisTimeoutMs)
  const letters = createAvroReader<DeadLetter>({
    schema: await readContract('dead-letter'),
    name: 'dead letter',
    registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })
  await startReader(context, options, redis, 'predictions', predictionAnswers)
  await startReader(context, options, redis, 'dead-letters', rejectionAnswers(letters))
}

async function startReader(
  context: StageContext,
  options: ResultsOptions,
  redis: RedisClient,
  input: 'predictions' | 'dead-letters',
  read: AnswerReader,
): Promise<void> {
  const { pipeline, clock, config, retry } = context
  const { resultsTtlMs: ttlMs, limits } = options
  const name = `sinks-results-${input}`
  const lanes = {
    name,
    group: consumerGroup(pipeline.name, `sinks.results.${input}`),
    topic: stageTopic(pipeline.name, input),
    logger: context.logger.child({ hop: name }),
  }
  const hooks: LaneHooks = { open: async (_, { offset }) => offset }

  const results = await context.start(name, async () => {
    // what was deleted before it was read is too old to be an answer
    const joined = await joinStageGroup(context, lanes, hooks, async ({ to }) => to)
    const stopping = new AbortController()
    const loop = runResults(
      {
        source: joined.value,
        read,
        store: (blocks) => storeAnswers(redis, pipeline.name, blocks, ttlMs),
        ttlMs,
        limits: { ...limits, lingerMs: 0 },
        retry,
        clock,
        observer: options.observer(input),
      },
      stopping.signal,
    )
    return {
      value: { ...loop, source: joined.value },
      async stop() {
        joined.value.endIntake()
        stopping.abort()
        try {
          await loop.ended
        } finally {
          // what is out has nobody to wait for
          for (const [partition, { settled }] of joined.value.positions()) joined.value.rewind(partition, settled, 0)
          await joined.stop()
        }
      },
    }
  })
  const watchdog = await context.start(`${name} watchdog`, async () =>
    startWatchdog({ name, hop: results, isWaiting: results.isWaiting, limitMs: config.progressTimeoutMs }),
  )
  // ready whatever becomes of Redis: a late answer is only late
  context.watch({
    ended: Promise.race([results.ended, watchdog.ended]),
    health: { live: watchdog.problem, ready: () => null },
  })
}
