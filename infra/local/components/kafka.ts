import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import { requireComponent, type StackSettings } from '../settings.ts'
import { type Component, LOOPBACK } from './component.ts'

const HEAP = ['-Xms256m', '-Xmx768m']
const PROBE_TIMEOUT_MS = 2_000

/** Apache Kafka, one node in KRaft mode. */
export const kafka: Component = {
  name: 'kafka',
  ports: ['kafka', 'kafka-controller'],
  address: ({ ports }) => `${LOOPBACK}:${ports.kafka}`,

  async prepare(settings) {
    const classPath = path.join(requireComponent('kafka'), 'libs', '*')
    const folder = path.join(settings.dataDir, 'kafka')
    mkdirSync(folder, { recursive: true })
    const properties = path.join(folder, 'server.properties')
    writeFileSync(properties, serverProperties(settings, folder))
    if (!existsSync(path.join(folder, 'log', 'meta.properties'))) {
      const clusterId = randomBytes(16).toString('base64url')
      const args = ['-cp', classPath, 'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', properties]
      await promisify(execFile)('java', args)
    }
    return { command: 'java', args: [...HEAP, '-cp', classPath, 'kafka.Kafka', properties] }
  },

  probe: ({ ports }) => askApiVersions(ports.kafka),
}

function serverProperties({ ports }: StackSettings, folder: string): string {
  const lines = {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@${LOOPBACK}:${ports['kafka-controller']}`,
    listeners: `PLAINTEXT://${LOOPBACK}:${ports.kafka},CONTROLLER://${LOOPBACK}:${ports['kafka-controller']}`,
    'advertised.listeners': `PLAINTEXT://${LOOPBACK}:${ports.kafka}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': path.join(folder, 'log'),
    'auto.create.topics.enable': 'false',
    'num.partitions': '4',
    'offsets.topic.num.partitions': '8',
    'offsets.topic.replication.factor': '1',
    'transaction.state.log.num.partitions': '8',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'log.segment.bytes': '134217728',
  }
  return Object.entries(lines)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('')
}

/*
 * ApiVersions request, version 0, after its length (INT32):
 *   api_key INT16 = 18, api_version INT16 = 0, correlation_id INT32, client_id NULLABLE_STRING = null
 * Any answer with our correlation id means that the broker serves requests.
 */
const API_VERSIONS = Buffer.from('0000000a001200000000002affff', 'hex')
const CORRELATION_ID = 42

function askApiVersions(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: LOOPBACK, port })
    const fail = (error: Error): void => {
      socket.destroy()
      reject(error)
    }
    let answer = Buffer.alloc(0)
    socket.setTimeout(PROBE_TIMEOUT_MS, () => fail(new Error('no answer to ApiVersions')))
    socket.once('error', fail)
    socket.once('close', () => reject(new Error('the broker closed the connection')))
    socket.once('connect', () => socket.write(API_VERSIONS))
    socket.on('data', (bytes) => {
      answer = Buffer.concat([answer, bytes])
      if (answer.length < 8) return
      if (answer.readInt32BE(4) !== CORRELATION_ID) return fail(new Error('not a Kafka broker'))
      socket.destroy()
      resolve()
    })
  })
}
