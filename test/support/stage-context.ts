import { expect, onTestFinished } from 'vitest'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { type Clock, systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig, STAGE } from '../../infra/runtime/config.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { createLogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { createLaneMemory } from '../../infra/runtime/lane-memory.ts'
import { untilDone } from '../../infra/runtime/lifecycle/retry.ts'
import { createScope } from '../../infra/runtime/lifecycle/scope.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { createMetrics } from '../../infra/runtime/telemetry/metrics.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { uniqueName } from './unique-name.ts'

/** What a stage has in a process of its own, in this one, on the stack that `env` names; all of it ends with `stop`, or with the test. */
export async function stageContext(
  stage: string,
  folder: string,
  env: Readonly<Record<string, string>>,
  clock: Clock = systemClock,
): Promise<{ readonly context: StageContext; stop(): Promise<void> }> {
  const all = { ...env, MILLRACE_PIPELINE: folder }
  const [logger, metrics] = [silentLogger, createMetrics({ stage })]
  const scope = createScope(logger)
  onTestFinished(() => scope.close())
  const connections = readConfig(CONNECTIONS, all)
  const instance = uniqueName(stage)
  const kafka = createKafkaClient(kafkaConfig(connections), instance, logger)
  const brokers = await scope.start('Kafka', async () => {
    const opened = createKafkaConnections({ config: kafka.config, clientId: instance, logger, clock })
    return { value: opened, stop: () => opened.close() }
  })
  const config = readConfig(STAGE, all)
  const retry = { baseMs: 20, maxMs: 200 }
  const signal = AbortSignal.timeout(120_000)
  const context: StageContext = {
    stage,
    instance,
    connections,
    config,
    pipeline: await loadPipeline(folder),
    kafka,
    admin: await scope.start('Kafka admin', () => startKafkaAdmin(kafka)),
    brokers,
    log: createLogReader({ connections: brokers, clock }),
    writer: await scope.start('Kafka writer', async () =>
      createIdempotentWriter({ connections: brokers, clock, logger }),
    ),
    registry: createSchemaRegistry(registryConfig(connections)),
    clock,
    logger,
    metrics,
    queuedBytes: metrics.gauge('millrace_queued_bytes', 'Fetched and not yet taken', ['hop']),
    laneMemory: createLaneMemory(config),
    retry,
    start: (name, begin) => scope.start(name, () => untilDone(name, begin, { backoff: retry, clock, logger, signal })),
    pausable: (_topic, starting) => starting,
    watch: ({ ended }) => void ended.catch((error: unknown) => expect.fail(String(error))),
  }
  return { context, stop: () => scope.close() }
}
