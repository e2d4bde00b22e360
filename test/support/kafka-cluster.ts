import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { kafka } from '../../infra/local/components/kafka.ts'
import { freePorts } from '../../infra/local/ports.ts'
import { requireComponent } from '../../infra/local/settings.ts'
import { eventually } from './eventually.ts'

const RUNS = path.resolve(import.meta.dirname, '../../.millrace/test')
const HOST = '127.0.0.1'
const START_MS = 90_000

/** Brokers that are controllers, too; each can be killed and started again. Topics keep what is acknowledged by two of three. */
export interface KafkaCluster {
  readonly brokers: readonly string[]
  /** Node ids count from 1. */
  kill(node: number): Promise<void>
  /** Resolves when it answers and is registered. */
  start(node: number): Promise<void>
}

export async function startKafkaCluster(
  size: number,
  settings: Readonly<Record<string, string>> = {},
): Promise<{ readonly value: KafkaCluster; stop(): Promise<void> }> {
  const ports = await freePorts(size * 2)
  const home = path.join(RUNS, `cluster-${process.pid}-${ports[0]}`)
  const nodes = Array.from({ length: size }, (_, index) => ({
    id: index + 1,
    port: ports[index] as number,
    controllerPort: ports[size + index] as number,
    folder: path.join(home, `${index + 1}`),
  }))
  const voters = nodes.map(({ id, controllerPort }) => `${id}@${HOST}:${controllerPort}`).join(',')
  const classPath = path.join(requireComponent('kafka'), 'libs', '*')
  const clusterId = randomBytes(16).toString('base64url')
  const running = new Map<number, ChildProcess>()

  for (const { id, port, controllerPort, folder } of nodes) {
    mkdirSync(folder, { recursive: true })
    const lines = { ...properties(size), 'node.id': `${id}`, 'controller.quorum.voters': voters, ...settings }
    const listeners = {
      listeners: `PLAINTEXT://${HOST}:${port},CONTROLLER://${HOST}:${controllerPort}`,
      'advertised.listeners': `PLAINTEXT://${HOST}:${port}`,
      'log.dirs': path.join(folder, 'log'),
    }
    const text = Object.entries({ ...lines, ...listeners }).map(([key, value]) => `${key}=${value}\n`)
    writeFileSync(path.join(folder, 'server.properties'), text.join(''))
  }
  await Promise.all(
    nodes.map(({ folder }) => {
      const file = path.join(folder, 'server.properties')
      const tool = ['kafka.tools.StorageTool', 'format', `--cluster-id=${clusterId}`, '-c', file]
      return promisify(execFile)('java', ['-XX:TieredStopAtLevel=1', '-cp', classPath, ...tool])
    }),
  )

  async function start(node: number): Promise<void> {
    const { port, folder } = nodes[node - 1] as (typeof nodes)[number]
    const heap = ['-Xms128m', '-Xmx320m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
    const logging = ['-Dorg.slf4j.simpleLogger.defaultLogLevel=warn', '-Dorg.slf4j.simpleLogger.showDateTime=true']
    const args = [...heap, ...logging, '-cp', classPath, 'kafka.Kafka', path.join(folder, 'server.properties')]
    const child = spawn('java', args, { stdio: ['ignore', 'pipe', 'pipe'] })
    const log = createWriteStream(path.join(folder, 'kafka.log'), { flags: 'a' })
    for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false })
    running.set(node, child)
    await eventually(
      async () => {
        if (child.exitCode !== null) throw new Error(`broker ${node} has ended, see ${folder}`)
        await kafka.probe({ ports: { kafka: port } } as Parameters<typeof kafka.probe>[0])
      },
      { deadlineMs: START_MS },
    )
  }

  async function kill(node: number): Promise<void> {
    const child = running.get(node)
    running.delete(node)
    if (child === undefined || child.exitCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map(({ id }) => kill(id)))
    rmSync(home, { recursive: true, force: true })
  }
  try {
    await Promise.all(nodes.map(({ id }) => start(id)))
  } catch (error) {
    await stop()
    throw error
  }
  return { value: { brokers: nodes.map(({ port }) => `${HOST}:${port}`), kill, start }, stop }
}

function properties(size: number): Readonly<Record<string, string>> {
  const replicas = `${Math.min(size, 3)}`
  const inSync = `${Math.min(size, 2)}`
  return {
    'process.roles': 'broker,controller',
    'controller.listener.names': 'CONTROLLER',
    'auto.create.topics.enable': 'false',
    'offsets.topic.num.partitions': '4',
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.num.partitions': '4',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSync,
    'min.insync.replicas': inSync,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSync,
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'unclean.leader.election.enable': 'false',
    // a killed broker is noticed soon, and may register again as soon
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'replica.lag.time.max.ms': '5000',
    'log.cleaner.enable': 'false',
    'num.network.threads': '2',
    'num.io.threads': '4',
    'log.segment.bytes': '33554432',
  }
}
