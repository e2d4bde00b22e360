import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { commandConnections } from '../../../infra/cli/connections.ts'
import { patiently } from '../../../infra/cli/patiently.ts'
import { createProcesses, deployPipeline } from '../../../infra/cli/up/start-pipeline.ts'
import { freePorts } from '../../../infra/local/ports.ts'
import type { SupervisedProcess } from '../../../infra/local/supervisor.ts'
import { readAvroFile } from '../../../infra/runtime/avro/avro-type.ts'
import { startKafkaAdmin } from '../../../infra/runtime/kafka/kafka-admin.ts'
import { createScope } from '../../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../../infra/runtime/telemetry/logger.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { eventually } from '../../support/eventually.ts'
import { type FaultProxy, startFaultProxy } from '../../support/fault-proxy.ts'
import { issueKey } from '../../support/gateway-keys.ts'
import { startTestStack } from '../../support/test-stack.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const FLIGHTS = path.join(ROOT, 'infra/sample/flights')
const LANES = 8
/** Far above what is measured: every request is counted in Redis, and none is refused for it. */
const LIMITS = { requestsPerSecond: 1e7, eventsPerSecond: 1e9, bytesPerSecond: 1e12, eventsPerMonth: 1e12 }
const READY_MS = 120_000

export interface BenchServers {
  readonly gateway: { readonly url: string; readonly opsPort: number }
  readonly bareUrl: string
  /** The headers of every request. */
  readonly headers: Readonly<Record<string, string>>
  /** Files of request bodies. */
  readonly single: string
  readonly many: string
  /** Between the gateway and its Redis. */
  readonly redis: FaultProxy
  /** Starts what answers events with predictions; stops it again. */
  startScoring(): { stop(): Promise<void> }
  stop(): Promise<void>
}

/** A stack, the flights pipeline, a gateway and the bare route, each in its own process. */
export async function startServers(options: { readonly eventsOfMany: number }): Promise<BenchServers> {
  const scope = createScope(silentLogger)
  try {
    const stack = await scope.start('stack', startTestStack)
    const { env, supervisor } = stack
    const pipeline = await loadPipeline(FLIGHTS)
    const connections = commandConnections({ ...process.env, ...env })
    const admin = await scope.start('Kafka admin', () => startKafkaAdmin(connections.kafka))
    const deployment = { partitions: LANES, allowSingleReplica: true, onProgress: () => {} }
    const patience = { say: () => {}, signal: AbortSignal.timeout(READY_MS) }
    await patiently('deploying', () => deployPipeline(pipeline, connections, admin, deployment), patience)
    const key = await issueKey(env, LIMITS)

    const folder = mkdtempSync(path.join(tmpdir(), 'millrace-bench-'))
    await scope.start('bodies', async () => ({ value: null, stop: async () => rmSync(folder, { recursive: true }) }))
    const { single, many } = await writeBodies(folder, options.eventsOfMany)

    const target = new URL(env['REDIS_URL'] ?? '')
    const redis = await scope.start('Redis proxy', async () => {
      const proxy = await startFaultProxy({ target: { host: target.hostname, port: Number(target.port) } })
      return { value: proxy, stop: () => proxy.close() }
    })
    const [port = 0, adminPort = 0, opsPort = 0] = await freePorts(3)
    const run = (name: string, file: string, more: Readonly<Record<string, string>>, onLine?: (line: string) => void) =>
      supervisor.run({
        ...{
          name,
          command: process.execPath,
          args: ['--conditions=millrace-source', path.join(ROOT, file)],
          cwd: ROOT,
        },
        ...{ env: { ...env, ...more }, logFile: path.join(folder, `${name}.log`), restart: 'never' as const },
        ...(onLine === undefined ? {} : { onLine }),
      })
    const barePort = Promise.withResolvers<number>()
    run('bare', 'test/bench/gateway/bare.ts', {}, (line) => {
      barePort.resolve((JSON.parse(line) as { readonly port: number }).port)
    })
    const gateway = run('gateway', 'ingest/main.ts', {
      MILLRACE_PIPELINE: FLIGHTS,
      MILLRACE_GATEWAY_PORT: String(port),
      MILLRACE_ADMIN_PORT: String(adminPort),
      MILLRACE_OPS_PORT: String(opsPort),
      REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    })
    const url = `http://127.0.0.1:${port}`
    await untilReady(url, gateway)
    const { startStage } = createProcesses(pipeline, stack, { logDir: folder })
    return {
      gateway: { url, opsPort },
      bareUrl: `http://127.0.0.1:${await barePort.promise}`,
      headers: { authorization: `Bearer ${key}` },
      ...{ single, many, redis },
      startScoring() {
        const stages = [startStage('fused'), startStage('sinks')]
        return {
          async stop() {
            await Promise.all(stages.map((stage) => stage.stop()))
          },
        }
      },
      stop: () => scope.close(),
    }
  } catch (error) {
    await scope.close()
    throw error
  }
}

async function untilReady(url: string, { lastError }: SupervisedProcess): Promise<void> {
  await eventually(
    async () => {
      const { status } = await fetch(`${url}/ready`)
      if (status !== 200) throw new Error(`the gateway is not ready: ${lastError ?? status}`)
    },
    { deadlineMs: READY_MS },
  )
}

const SINGLE_BODIES = 64
const MANY_BODIES = 8

/** Flights of the sample, as JSON. */
async function writeBodies(folder: string, eventsOfMany: number): Promise<{ single: string; many: string }> {
  const flights: unknown[] = []
  for await (const flight of readAvroFile(path.join(FLIGHTS, 'data/events.avro'))) {
    flights.push(flight)
    if (flights.length === MANY_BODIES * eventsOfMany) break
  }
  const write = (name: string, bodies: readonly unknown[]): string => {
    const file = path.join(folder, name)
    writeFileSync(file, JSON.stringify(bodies.map((body) => JSON.stringify(body))))
    return file
  }
  const parts = Array.from({ length: MANY_BODIES }, (_, part) =>
    flights.slice(part * eventsOfMany, (part + 1) * eventsOfMany),
  )
  return { single: write('single.json', flights.slice(0, SINGLE_BODIES)), many: write('many.json', parts) }
}
