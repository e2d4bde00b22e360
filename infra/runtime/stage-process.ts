import { randomUUID } from 'node:crypto'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { createSchemaRegistry, type SchemaRegistry } from './avro/schema-registry.ts'
import type { Backoff } from './backoff.ts'
import { type Clock, systemClock } from './clock.ts'
import {
  CONNECTIONS,
  type Compiled,
  type Connections,
  describeVariables,
  kafkaConfig,
  readConfig,
  registryConfig,
  STAGE,
  type Variable,
} from './config.ts'
import { describeError } from './errors.ts'
import { type Health, startOpsServer } from './http/ops-server.ts'
import { checkBrokers } from './kafka/connections/check-brokers.ts'
import type { KafkaConnections } from './kafka/connections/connections.ts'
import { createKafkaConnections } from './kafka/connections/kafka-connections.ts'
import type { PartitionPauses } from './kafka/consumer/lane-source.ts'
import { type KafkaAdmin, startKafkaAdmin } from './kafka/kafka-admin.ts'
import { createKafkaClient, type KafkaClient } from './kafka/kafka-client.ts'
import { createLogReader, type LogReader } from './kafka/log-reader.ts'
import { createIdempotentWriter } from './kafka/producer/idempotent-writer.ts'
import type { RecordWriter } from './kafka/record-writer.ts'
import { createLaneMemory, type LaneMemory } from './lane-memory.ts'
import { aborted } from './lifecycle/aborted.ts'
import { createPartitionControl } from './lifecycle/partition-control.ts'
import { untilDone } from './lifecycle/retry.ts'
import { createScope, type Started } from './lifecycle/scope.ts'
import { createLogger, type Logger } from './telemetry/logger.ts'
import { createMetrics, type GaugeOf, type Metrics } from './telemetry/metrics.ts'

type StageConfig = Compiled<typeof STAGE>

/** Everything a stage is made from. */
export interface StageContext {
  readonly stage: string
  /** Names this process in metrics and stage reports. */
  readonly instance: string
  readonly connections: Connections
  readonly config: StageConfig
  readonly pipeline: CompiledPipeline
  readonly kafka: KafkaClient
  readonly admin: KafkaAdmin
  readonly brokers: KafkaConnections
  readonly log: LogReader
  /** For what no claim guards: reports. */
  readonly writer: RecordWriter
  readonly registry: SchemaRegistry
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly queuedBytes: GaugeOf<'hop'>
  /** Of everything that is fetched by lanes. */
  readonly laneMemory: LaneMemory
  /** How `retry` errors of start-up and of hops are spaced. */
  readonly retry: Backoff
  /** Starts a part, again and again while it fails with `retry`; parts are stopped in reverse order. */
  start<T>(name: string, start: () => Promise<Started<T>>): Promise<T>
  /** Lets an operator pause the partitions of a source. */
  pausable<T extends PartitionPauses>(topic: string, starting: Promise<Started<T>>): Promise<Started<T>>
  /** Watches a part that runs by itself: the process ends with an error when it does. */
  watch(part: { readonly ended: Promise<void>; readonly health: Health }): void
}

const RETRY: Backoff = { baseMs: 100, maxMs: 5_000 }

/**
 * Runs a stage until SIGTERM or SIGINT, or until something fails that nobody understands. Exits 0 after an orderly stop
 * inside the deadline, 1 otherwise. `--help` prints the variables instead.
 */
export async function runStage<S extends Readonly<Record<string, Variable<unknown>>>>(
  stage: string,
  variables: S,
  start: (context: StageContext, own: Compiled<S>) => Promise<void>,
): Promise<void> {
  if (process.argv.includes('--help')) {
    const lines = [...describeVariables(variables), ...describeVariables(STAGE), ...describeVariables(CONNECTIONS)]
    process.stdout.write(`${stage}: configured by environment variables\n\n${lines.join('\n')}\n`)
    return
  }
  const stopping = new AbortController()
  process.once('SIGTERM', () => stopping.abort())
  process.once('SIGINT', () => stopping.abort())

  const instance = `${stage}-${randomUUID().slice(0, 8)}`
  let logger = createLogger('info', { stage, instance })
  try {
    const config = readConfig(STAGE, process.env)
    logger = createLogger(config.logLevel, { stage, instance })
    const own = readConfig(variables, process.env)
    const code = await runUntilStopped(stage, instance, config, logger, stopping.signal, (context) =>
      start(context, own),
    )
    // everything is closed by now; a socket that kafkajs lost sight of in an outage would hold the process for minutes
    process.exit(code)
  } catch (error) {
    logger.error(describeError(error), 'stage could not start')
    process.exitCode = 1
  }
}

async function runUntilStopped(
  stage: string,
  instance: string,
  config: StageConfig,
  logger: Logger,
  signal: AbortSignal,
  start: (context: StageContext) => Promise<void>,
): Promise<number> {
  const clock = systemClock
  const metrics = createMetrics({ stage })
  const scope = createScope(logger)
  const partitions = createPartitionControl(metrics)
  const watched: Health[] = []
  const failures: Promise<never>[] = []
  let started = false
  let startingProblem = 'starting'

  const health: Health = {
    live: () => firstProblem(watched.map((part) => part.live())),
    ready: () =>
      started ? (partitions.problem() ?? firstProblem(watched.map((part) => part.ready()))) : startingProblem,
  }
  const begin: StageContext['start'] = (name, work) => {
    startingProblem = `starting: ${name}`
    const onRetry = (error: unknown): void => {
      startingProblem = `starting: ${name}: ${describeError(error).message}`
    }
    return scope.start(name, () => untilDone(name, work, { backoff: RETRY, clock, logger, signal, onRetry }))
  }

  let exitCode = 0
  try {
    const pipeline = await loadPipeline(config.pipelineFolder)
    const ops = await scope.start('ops server', () =>
      startOpsServer({ host: config.opsHost, port: config.opsPort, health, metrics, partitions }),
    )
    const connections = readConfig(CONNECTIONS, process.env)
    const kafka = createKafkaClient(kafkaConfig(connections), instance, logger)
    const brokers = await begin('Kafka', async () => {
      const opened = createKafkaConnections({ config: kafka.config, clientId: instance, logger, clock })
      try {
        logger.info(await checkBrokers(opened), 'brokers checked')
      } catch (error) {
        await opened.close()
        throw error
      }
      return { value: opened, stop: () => opened.close() }
    })
    const context: StageContext = {
      stage,
      instance,
      connections,
      config,
      pipeline,
      kafka,
      registry: createSchemaRegistry(registryConfig(connections)),
      admin: await begin('Kafka admin', () => startKafkaAdmin(kafka)),
      brokers,
      log: createLogReader({ connections: brokers, clock }),
      writer: await begin('Kafka writer', async () => createIdempotentWriter({ connections: brokers, clock, logger })),
      clock,
      logger,
      metrics,
      queuedBytes: metrics.gauge('millrace_queued_bytes', 'Fetched and not yet taken', ['hop']),
      laneMemory: createLaneMemory(config),
      retry: RETRY,
      start: begin,
      async pausable(topic, starting) {
        const begun = await starting
        partitions.add(topic, begun.value)
        return begun
      },
      watch(part) {
        watched.push(part.health)
        failures.push(part.ended.then(() => new Promise<never>(() => {})))
      },
    }
    await start(context)
    started = true
    logger.info({ pipeline: pipeline.name, opsPort: ops.port }, 'stage started')
    await Promise.race([...failures, aborted(signal)])
  } catch (error) {
    if (!signal.aborted) {
      exitCode = 1
      logger.error(describeError(error), started ? 'stage failed' : 'stage could not start')
    }
  }

  const deadline = setTimeout(() => {
    logger.error({ shutdownMs: config.shutdownMs }, 'not drained in time: uncommitted records will be read again')
    process.exit(1)
  }, config.shutdownMs)
  await scope.close()
  clearTimeout(deadline)
  logger.info({ exitCode }, 'stage stopped')
  return exitCode
}

function firstProblem(problems: readonly (string | null)[]): string | null {
  return problems.find((problem) => problem !== null) ?? null
}
