import { expect, onTestFinished } from 'vitest'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig, STAGE } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
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
import { hashSecret, makeKey } from '../../ingest/access/key-text.ts'
import { INGEST } from '../../ingest/config.ts'
import type { GatewayParts } from '../../ingest/gateway-parts.ts'
import { startGateway } from '../../ingest/start-gateway.ts'
import { startParts } from '../../ingest/start-parts.ts'
import { type ApiKeyEntry, type Scope, type TenantEntry, UNLIMITED } from '../../schemas/control/access.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { eventually } from './eventually.ts'
import { uniqueName } from './unique-name.ts'

export interface TestGateway {
  /** E.g. `http://127.0.0.1:41234`. */
  readonly url: string
  /** Of the admin port. */
  readonly adminUrl: string
  readonly parts: GatewayParts
  /** A new API key, as whoever holds it sends it; its tenant is made where there is none. */
  key(tenant?: string, scopes?: readonly Scope[]): Promise<string>
  /** Drains and ends it; also done when the test ends. */
  stop(): Promise<void>
}

/**
 * A gateway in this process, made as a stage makes it, on free ports, for a pipeline that is deployed on the stack that `env` names. Any
 * variable of the gateway can be given with `env`; `parts` replaces what it is made from.
 */
export async function startTestGateway(
  folder: string,
  env: Readonly<Record<string, string>>,
  replace: (parts: GatewayParts) => Partial<GatewayParts> = () => ({}),
): Promise<TestGateway> {
  const all = {
    MILLRACE_GATEWAY_PORT: '0',
    MILLRACE_ADMIN_PORT: '0',
    MILLRACE_GATEWAY_DRAIN_MS: '0',
    MILLRACE_INGEST_CHECK_MS: '100',
    // a busy machine is no Redis that is away
    MILLRACE_GATEWAY_REDIS_MS: '2000',
    ...env,
    MILLRACE_PIPELINE: folder,
  }
  const [logger, clock, metrics] = [silentLogger, systemClock, createMetrics({ stage: 'ingest' })]
  const scope = createScope(logger)
  onTestFinished(() => scope.close())
  const connections = readConfig(CONNECTIONS, all)
  const instance = uniqueName('ingest')
  const kafka = createKafkaClient(kafkaConfig(connections), instance, logger)
  const brokers = await scope.start('Kafka', async () => {
    const opened = createKafkaConnections({ config: kafka.config, clientId: instance, logger, clock })
    return { value: opened, stop: () => opened.close() }
  })
  const config = readConfig(STAGE, all)
  const retry = { baseMs: 20, maxMs: 200 }
  const signal = AbortSignal.timeout(30_000)
  const context: StageContext = {
    stage: 'ingest',
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
  const own = readConfig(INGEST, all)
  const parts = await startParts(context, own)
  const { address, admin } = await startGateway(context, own, {
    ...parts,

    ...replace(parts),
  })
  const url = address.url
  await eventually(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), { deadlineMs: 30_000 })
  return {
    url,
    adminUrl: admin.url,
    parts,
    key: (tenant = 'default', scopes = ['ingest', 'read', 'label']) => testKey(parts.control, tenant, scopes),
    stop: () => scope.close(),
  }
}

async function testKey(control: ControlLog, tenant: string, scopes: readonly Scope[]): Promise<string> {
  const by = { actor: 'test', reason: 'test' }
  if (control.latest('tenant', tenant) === null) {
    const value: TenantEntry = { state: 'active', limits: UNLIMITED }
    await control.append({ kind: 'tenant', name: tenant, basedOn: null, value, ...by })
  }
  const { id, secret, text } = makeKey('test')
  const value: ApiKeyEntry = {
    tenant,
    principal: id,
    scopes,
    hash: hashSecret(secret).toString('hex'),
    limits: UNLIMITED,
    createdAt: Date.now(),
    expiresAt: null,
    state: 'active',
  }
  await control.append({ kind: 'api-key', name: id, basedOn: null, value, ...by })
  return text
}
