import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { kafka } from '../../infra/local/components/kafka.ts'
import { freePorts } from '../../infra/local/ports.ts'
import { createSupervisor, type SupervisedProcess } from '../../infra/local/supervisor.ts'
import { eventually } from './eventually.ts'
import { type FaultProxy, type Relay, startFaultProxy } from './fault-proxy.ts'
import { uniqueName } from './unique-name.ts'

const RUNS = path.resolve(import.meta.dirname, '../../.millrace/test-brokers')
const READY_MS = 150_000

/** A broker of its own with two ways to it: the direct one, and one through a proxy, which its metadata also names. */
export interface ProxiedBroker {
  /** `KAFKA_BROKERS` for what checks. */
  readonly direct: string
  /** `KAFKA_BROKERS` for what is tested: every connection, also those it finds in metadata, goes through the proxy. */
  readonly proxied: string
  readonly proxy: FaultProxy
  /** Started again by itself when it is killed. */
  readonly process: SupervisedProcess
  /** Resolves when it answers again. */
  ready(): Promise<void>
  /** Ends broker and proxy, and deletes the log. */
  stop(): Promise<void>
}

export async function startProxiedBroker(
  options: {
    /** Broker settings beside or instead of those of the local stack. */
    readonly properties?: Readonly<Record<string, string>>
    readonly relay?: (send: (direction: 'toServer' | 'toClient', bytes: Buffer) => void) => Relay
    /** direct, controller, behind the proxy; by default free ones. */
    readonly ports?: readonly [number, number, number]
  } = {},
): Promise<ProxiedBroker> {
  const [port = 0, controller = 0, behind = 0] = options.ports ?? (await freePorts(3))
  const proxy = await startFaultProxy({
    target: { port: behind },
    ...(options.relay === undefined ? {} : { relay: options.relay }),
  })
  const home = path.join(RUNS, uniqueName('broker'))
  const ports = { kafka: port, 'kafka-controller': controller, registry: 0, redis: 0, clickhouse: 0 }
  const settings = { home, dataDir: home, logDir: home, ports, external: {} }
  const supervisor = createSupervisor()
  const stop = async (): Promise<void> => {
    await supervisor.stop()
    await proxy.close()
    rmSync(home, { recursive: true, force: true })
  }
  try {
    const command = await kafka.prepare(settings)
    const direct = `PLAINTEXT://127.0.0.1:${port}`
    changeProperties(path.join(home, 'kafka', 'server.properties'), {
      listeners: `${direct},PROXIED://127.0.0.1:${behind},CONTROLLER://127.0.0.1:${controller}`,
      'advertised.listeners': `${direct},PROXIED://127.0.0.1:${proxy.port}`,
      'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT',
      'inter.broker.listener.name': 'PLAINTEXT',
      ...options.properties,
    })
    const logFile = path.join(home, 'kafka.log')
    const process = supervisor.run({ name: 'broker', role: 'component', ...command, logFile, restart: 'always' })
    const ready = (): Promise<void> => eventually(() => kafka.probe(settings), { deadlineMs: READY_MS })
    await ready()
    return { direct: `127.0.0.1:${port}`, proxied: `127.0.0.1:${proxy.port}`, proxy, process, ready, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function changeProperties(file: string, change: Readonly<Record<string, string>>): void {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  const properties = new Map(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
  for (const [name, value] of Object.entries(change)) properties.set(name, value)
  writeFileSync(file, Array.from(properties, ([name, value]) => `${name}=${value}\n`).join(''))
}
