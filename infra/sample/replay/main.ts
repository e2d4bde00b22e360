import { randomUUID } from 'node:crypto'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { createSchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import { systemClock as clock } from '../../runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig, STAGE } from '../../runtime/config.ts'
import { describeError } from '../../runtime/errors.ts'
import { createKafkaConnections } from '../../runtime/kafka/connections/kafka-connections.ts'
import { startKafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { createKafkaClient } from '../../runtime/kafka/kafka-client.ts'
import { createIdempotentWriter } from '../../runtime/kafka/producer/idempotent-writer.ts'
import { untilDone } from '../../runtime/lifecycle/retry.ts'
import { createScope, type Started } from '../../runtime/lifecycle/scope.ts'
import { connectRedis } from '../../runtime/redis/redis-client.ts'
import { createLogger, type Logger } from '../../runtime/telemetry/logger.ts'
import { REPLAY, type ReplayOptions, readOptions, USAGE } from './options.ts'
import type { ReplayLine } from './progress.ts'
import { replay } from './replay.ts'

const PROGRESS_MS = 1_000
const REDIS_TIMEOUT_MS = 2_000
const RETRY = { baseMs: 200, maxMs: 2_000 }

const stopping = new AbortController()
process.once('SIGTERM', () => stopping.abort())
process.once('SIGINT', () => stopping.abort())
// everything is closed by now; a socket that kafkajs lost sight of in an outage would hold the process for minutes
process.exit(await run())

/** 0 when everything is in Kafka, or when the replay was asked to stop. */
async function run(): Promise<number> {
  let logger = createLogger('info', { process: 'replay' }, 'stderr')
  const scope = createScope(logger)
  try {
    const options = readOptions(process.argv.slice(2))
    if (options === null) {
      process.stdout.write(USAGE)
      return 0
    }
    logger = createLogger(readConfig({ level: STAGE.logLevel }, process.env).level, { process: 'replay' }, 'stderr')
    const done = await replay(await prepare(options, logger))
    await scope.close()
    writeLine(done)
    return 0
  } catch (error) {
    if (stopping.signal.aborted) return 0
    logger.error(describeError(error), 'the replay failed')
    return 1
  } finally {
    await scope.close()
  }

  async function prepare(options: ReplayOptions, log: Logger): Promise<Parameters<typeof replay>[0]> {
    const signal = stopping.signal
    const folder = options.folder ?? readConfig({ folder: STAGE.pipelineFolder }, process.env).folder
    const connections = readConfig({ ...CONNECTIONS, ...REPLAY }, process.env)
    const kafka = createKafkaClient(kafkaConfig(connections), `replay-${randomUUID().slice(0, 8)}`, log)
    const start = <T>(name: string, work: () => Promise<Started<T>>): Promise<T> =>
      scope.start(name, () => untilDone(name, work, { backoff: RETRY, clock, logger: log, signal }))
    const brokers = await start('Kafka', async () => {
      const opened = createKafkaConnections({ config: kafka.config, clientId: kafka.clientId, logger: log, clock })
      return { value: opened, stop: () => opened.close() }
    })
    return {
      pipeline: await loadPipeline(folder),
      options,
      tableWaitMs: connections.tableWaitMs,
      kafka,
      admin: await start('Kafka admin', () => startKafkaAdmin(kafka)),
      writer: await start('Kafka writer', async () =>
        createIdempotentWriter({ connections: brokers, clock, logger: log }),
      ),
      registry: createSchemaRegistry(registryConfig(connections)),
      connectRedis: () => {
        const { redisUrl: url, redisCa: ca } = connections
        return connectRedis({
          url,
          tls: ca === undefined ? undefined : { ca },
          commandTimeoutMs: REDIS_TIMEOUT_MS,
          logger: log,
        })
      },
      start,
      clock,
      logger: log,
      signal,
      onStart: (progress) => {
        const timer = setInterval(() => writeLine(progress()), PROGRESS_MS)
        void scope.start('progress', async () => ({ value: null, stop: async () => clearInterval(timer) }))
      },
    }
  }
}

function writeLine(line: ReplayLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
