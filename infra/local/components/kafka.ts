import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import { requireComponent, type StackSettings } from '../settings.ts'
import { type Component, LOOPBACK } from './component.ts'

const HEAP = ['-Xms256m', '-Xmx768m', '-XX:+ExitOnOutOfMemoryError']
const LOGGING = ['defaultLogLevel=warn', 'showDateTime=true', 'dateTimeFormat=HH:mm:ss.SSS'].map(
  (setting) => `-Dorg.slf4j.simpleLogger.${setting}`,
)
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
      const args = [
        '-XX:TieredStopAtLevel=1',
        '-cp',
        classPath,
        'kafka.tools.StorageTool',
        'format',
        // one word: an id may begin with a dash
        `--cluster-id=${clusterId}`,
        '-c',
        properties,
      ]
      await promisify(execFile)('java', args)
    }
    return { command: 'java', args: [...HEAP, ...LOGGING, '-cp', classPath, 'kafka.Kafka', properties] }
  },

  probe: ({ ports }) => findsBroker(ports.kafka),
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
    // a killed broker may register again only when the session of its former self is over
    'broker.session.timeout.ms': '4000',
    'broker.heartbeat.interval.ms': '1000',
    'log.segment.bytes': '134217728',
  }
  return Object.entries(lines)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('')
}

/*
 * Metadata request, version 1, after its length (INT32):
 *   api_key INT16 = 3, api_version INT16 = 1, correlation_id INT32, client_id NULLABLE_STRING = null, topics ARRAY = []
 * Its answer: length INT32, correlation_id INT32, number of brokers INT32, … A broker lists itself once it is registered and
 * unfenced; until then clients are answered, but find nobody to produce to.
 */
const METADATA = Buffer.from('0000000e000300010000002affff00000000', 'hex')
const CORRELATION_ID = 42
const ANSWER_BYTES = 12

function findsBroker(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: LOOPBACK, port })
    const fail = (problem: string): void => {
      socket.destroy()
      reject(new Error(problem))
    }
    let answer = Buffer.alloc(0)
    socket.setTimeout(PROBE_TIMEOUT_MS, () => fail('no answer to Metadata'))
    socket.once('error', (error) => fail(error.message))
    socket.once('close', () => fail('the broker closed the connection'))
    socket.once('connect', () => socket.write(METADATA))
    socket.on('data', (bytes) => {
      answer = Buffer.concat([answer, bytes])
      if (answer.length < ANSWER_BYTES) return
      if (answer.readInt32BE(4) !== CORRELATION_ID) return fail('not a Kafka broker')
      if (answer.readInt32BE(8) < 1) return fail('the broker is not registered yet')
      resolve()
      socket.destroy()
    })
  })
}
