import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { freePorts } from '../../infra/local/ports.ts'
import { requireComponent } from '../../infra/local/settings.ts'
import { eventually } from './eventually.ts'

/** A broker of its own (KRaft, one process), for tests that need other settings than the shared stack, or kill it. */
export interface KafkaBroker {
  readonly node: number
  /** By listener name; PLAINTEXT is always there. */
  readonly ports: Readonly<Record<string, number>>
  readonly address: string
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
  /** Starts the killed process again on the same data. */
  start(): Promise<void>
  signal(name: 'SIGSTOP' | 'SIGCONT'): void
}

export interface KafkaCluster {
  readonly brokers: readonly KafkaBroker[]
  /** Bootstrap list. */
  readonly addresses: readonly string[]
  /** Kills what runs and deletes the data. */
  stop(): Promise<void>
}

export interface ClusterOptions {
  readonly brokers?: number
  /** Besides PLAINTEXT: name → security protocol, e.g. { SCRAM: 'SASL_SSL' }. */
  readonly listeners?: Readonly<Record<string, string>>
  readonly settings?: Readonly<Record<string, string>>
  /** For `StorageTool format`, e.g. ['--add-scram', 'SCRAM-SHA-256=[name=a,password=b]']. */
  readonly format?: readonly string[]
}

const HOST = '127.0.0.1'
const JAVA = 'java'
const HEAP = ['-Xms128m', '-Xmx512m', '-XX:TieredStopAtLevel=1', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn']

/** Every node is broker and controller. About four seconds. */
export async function startKafkaCluster(options: ClusterOptions = {}): Promise<KafkaCluster> {
  const { brokers: count = 1, listeners = {}, settings = {}, format = [] } = options
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-kafka-'))
  const names = ['PLAINTEXT', ...Object.keys(listeners), 'CONTROLLER']
  const ports = await freePorts(count * names.length)
  const portOf = (node: number, name: string): number => ports[(node - 1) * names.length + names.indexOf(name)] ?? 0
  const nodes = Array.from({ length: count }, (_, index) => index + 1)
  const clusterId = randomBytes(16).toString('base64url')
  const classPath = path.join(requireComponent('kafka'), 'libs', '*')

  const brokers = nodes.map((node) => {
    const home = path.join(folder, String(node))
    mkdirSync(home)
    const file = path.join(home, 'server.properties')
    const client = names.slice(0, -1)
    const address = (name: string): string => `${name}://${HOST}:${portOf(node, name)}`
    const properties = {
      'process.roles': 'broker,controller',
      'node.id': String(node),
      'controller.quorum.voters': nodes.map((id) => `${id}@${HOST}:${portOf(id, 'CONTROLLER')}`).join(','),
      listeners: names.map(address).join(','),
      'advertised.listeners': client.map(address).join(','),
      'listener.security.protocol.map': [
        'PLAINTEXT:PLAINTEXT',
        'CONTROLLER:PLAINTEXT',
        ...Object.entries(listeners).map((entry) => entry.join(':')),
      ].join(','),
      'controller.listener.names': 'CONTROLLER',
      'log.dirs': path.join(home, 'log'),
      'auto.create.topics.enable': 'false',
      'offsets.topic.num.partitions': '4',
      'transaction.state.log.num.partitions': '4',
      'offsets.topic.replication.factor': String(count),
      'transaction.state.log.replication.factor': String(count),
      'transaction.state.log.min.isr': '1',
      'share.coordinator.state.topic.replication.factor': '1',
      'share.coordinator.state.topic.min.isr': '1',
      'group.initial.rebalance.delay.ms': '0',
      'group.min.session.timeout.ms': '1000',
      // a killed broker may register again only when the session of its former self is over
      'broker.session.timeout.ms': '3000',
      'broker.heartbeat.interval.ms': '500',
      ...settings,
    }
    writeFileSync(
      file,
      Object.entries(properties)
        .map((entry) => `${entry.join('=')}\n`)
        .join(''),
    )
    return createBroker(node, home, [...HEAP, '-cp', classPath, 'kafka.Kafka', file], portsOf(node))
  })

  function portsOf(node: number): Record<string, number> {
    return Object.fromEntries(names.map((name) => [name, portOf(node, name)]))
  }

  async function stop(): Promise<void> {
    await Promise.all(brokers.map((broker) => broker.kill()))
    rmSync(folder, { recursive: true, force: true })
  }

  /** One format for all: a JVM for each would take as long as the brokers themselves. */
  async function formatFolders(): Promise<void> {
    const [first = '', ...others] = nodes.map((node) => path.join(folder, String(node)))
    const config = ['-c', path.join(first, 'server.properties')]
    const args = ['-cp', classPath, 'kafka.tools.StorageTool', 'format', `--cluster-id=${clusterId}`, ...config]
    await promisify(execFile)(JAVA, [...HEAP, ...args, ...format])
    const meta = readFileSync(path.join(first, 'log', 'meta.properties'), 'utf8')
    for (const [index, home] of others.entries()) {
      mkdirSync(path.join(home, 'log'))
      copyFileSync(path.join(first, 'log', 'bootstrap.checkpoint'), path.join(home, 'log', 'bootstrap.checkpoint'))
      const own = meta
        .replace(/^node\.id=.*$/m, `node.id=${index + 2}`)
        .replace(/^directory\.id=.*$/m, `directory.id=${randomBytes(16).toString('base64url')}`)
      writeFileSync(path.join(home, 'log', 'meta.properties'), own)
    }
  }

  try {
    await formatFolders()
    await Promise.all(brokers.map((broker) => broker.start()))
  } catch (error) {
    await stop()
    throw error
  }
  return { brokers, addresses: brokers.map(({ address }) => address), stop }
}

function createBroker(
  node: number,
  home: string,
  args: readonly string[],
  ports: Readonly<Record<string, number>>,
): KafkaBroker {
  const port = ports['PLAINTEXT'] ?? 0
  let child: ChildProcess | null = null
  return {
    node,
    ports,
    address: `${HOST}:${port}`,
    async start() {
      const log = openSync(path.join(home, 'broker.log'), 'a')
      child = spawn(JAVA, args, { stdio: ['ignore', log, log] })
      await eventually(() => findsBrokers(port), { deadlineMs: 200_000 })
    },
    async kill() {
      const running = child
      child = null
      if (running === null || running.exitCode !== null) return
      const gone = once(running, 'exit')
      running.kill('SIGKILL')
      await gone
    },
    signal(name) {
      child?.kill(name)
    },
  }
}

/** Metadata, version 1, of no topic; a broker lists brokers when it is registered and unfenced. */
const METADATA = Buffer.from('0000000e000300010000002affff00000000', 'hex')

const PROBE_MS = 10_000

async function findsBrokers(port: number): Promise<void> {
  const socket = connect({ host: HOST, port })
  const signal = AbortSignal.timeout(PROBE_MS)
  try {
    await once(socket, 'connect', { signal })
    socket.write(METADATA)
    const [answer] = (await once(socket, 'data', { signal })) as [Buffer]
    if (answer.readInt32BE(8) < 1) throw new Error('the broker is not registered yet')
  } finally {
    socket.destroy()
  }
}
