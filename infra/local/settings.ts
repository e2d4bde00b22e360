import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** Where the local stack keeps its data, and which of its components run here. */
export interface StackSettings {
  /** Components, logs and data, e.g. `.millrace`. */
  readonly home: string
  readonly dataDir: string
  readonly logDir: string
  readonly ports: Readonly<Record<PortName, number>>
  /** Addresses of services that replace a component; nothing is started for them. */
  readonly external: Readonly<Partial<Record<ComponentName, string>>>
}

export type ComponentName = 'kafka' | 'registry' | 'redis' | 'clickhouse'
export type PortName = ComponentName | 'kafka-controller'

/** The variable that replaces a component by a running service. */
export const REPLACED_BY: Readonly<Record<ComponentName, string>> = {
  kafka: 'KAFKA_BROKERS',
  registry: 'SCHEMA_REGISTRY_URL',
  redis: 'REDIS_URL',
  clickhouse: 'CLICKHOUSE_URL',
}

const PORTS: Readonly<Record<PortName, readonly [variable: string, fallback: number]>> = {
  kafka: ['MILLRACE_KAFKA_PORT', 9092],
  'kafka-controller': ['MILLRACE_KAFKA_CONTROLLER_PORT', 9093],
  registry: ['MILLRACE_REGISTRY_PORT', 8081],
  redis: ['MILLRACE_REDIS_PORT', 6379],
  clickhouse: ['MILLRACE_CLICKHOUSE_PORT', 8123],
}

export function portVariable(name: PortName): string {
  return PORTS[name][0]
}

export function readStackSettings(env: NodeJS.ProcessEnv): StackSettings {
  const home = path.resolve(env['MILLRACE_DATA'] ?? '.millrace')
  const port = (name: PortName): number => {
    const [variable, fallback] = PORTS[name]
    const value = Number(env[variable] ?? fallback)
    if (!Number.isInteger(value) || value < 1 || value > 65_535) {
      throw new Error(`${variable} must be a port number, not ${env[variable]}.`)
    }
    return value
  }
  return {
    home,
    dataDir: path.join(home, 'data'),
    logDir: path.join(home, 'logs'),
    ports: {
      kafka: port('kafka'),
      'kafka-controller': port('kafka-controller'),
      registry: port('registry'),
      redis: port('redis'),
      clickhouse: port('clickhouse'),
    },
    external: Object.fromEntries(
      Object.entries(REPLACED_BY).flatMap(([name, variable]) => {
        const address = env[variable]
        return address === undefined || address === '' ? [] : [[name, address]]
      }),
    ),
  }
}

/** Folder that the set-up (bootstrap.mjs) put a component's program into. */
export function componentFolder(component: 'kafka' | 'registry' | 'redis'): string {
  const pom = readFileSync(path.join(import.meta.dirname, 'pom.xml'))
  const version = createHash('sha256').update(pom).digest('hex').slice(0, 12)
  return path.join(path.resolve('.millrace'), 'components', version, component)
}

/** Rejects with the remedy when the set-up has not been run. */
export function requireComponent(component: 'kafka' | 'registry' | 'redis'): string {
  const folder = componentFolder(component)
  if (!existsSync(folder)) {
    throw new Error(
      `${component} is not set up (${folder} is missing): run npm start, or set ${REPLACED_BY[component]}.`,
    )
  }
  return folder
}
