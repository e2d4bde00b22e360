import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { RegistryConfig } from './avro/schema-registry.ts'
import type { ClickHouseConfig } from './clickhouse/clickhouse-client.ts'
import { fatal } from './errors.ts'
import type { KafkaConfig } from './kafka/kafka-client.ts'
import type { LogLevel } from './telemetry/logger.ts'

/** One environment variable: its name, what it means and how its text becomes a value. */
export interface Variable<T> {
  readonly name: string
  readonly about: string
  /** As text, as a user would write it; null = none. */
  readonly fallback: string | null
  readonly optional: boolean
  readonly parse: z.ZodType<T, string>
}

/** The values of a set of variables. */
export type Compiled<S> = { readonly [K in keyof S]: S[K] extends Variable<infer T> ? T : never }
export type Environment = Readonly<Record<string, string | undefined>>

const required = <T>(name: string, about: string, parse: z.ZodType<T, string>): Variable<T> => ({
  name,
  about,
  fallback: null,
  optional: false,
  parse,
})

const withDefault = <T>(name: string, about: string, fallback: string, parse: z.ZodType<T, string>): Variable<T> => ({
  name,
  about,
  fallback,
  optional: false,
  parse,
})

const optional = <T>(name: string, about: string, parse: z.ZodType<T, string>): Variable<T | undefined> => ({
  name,
  about,
  fallback: null,
  optional: true,
  parse,
})

const text = z.string().min(1)
const url = z.string().refine((value) => URL.canParse(value), 'must be a URL')
const flag = z.enum(['true', 'false']).transform((value) => value === 'true')
/** `earliest`, `latest` or a time, as epoch ms. */
const start = z.string().transform((value, context): 'earliest' | 'latest' | number => {
  if (value === 'earliest' || value === 'latest') return value
  const time = Date.parse(value)
  if (!Number.isNaN(time)) return time
  context.addIssue({ code: 'custom', message: 'must be earliest, latest or a time such as 2026-01-31T12:00:00Z' })
  return z.NEVER
})
const fileContent = z.string().transform((path, context) => {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    context.addIssue({ code: 'custom', message: `cannot be read: ${(error as Error).message}` })
    return z.NEVER
  }
})
const integer = (min: number, max: number): z.ZodType<number, string> =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be from ${min} to ${max}`)

/** A whole number with its unit in the variable's name. */
export const integerVariable = (
  name: string,
  about: string,
  fallback: number,
  bounds: { readonly min: number; readonly max: number },
): Variable<number> => withDefault(name, about, String(fallback), integer(bounds.min, bounds.max))

/** A text that need not be given. */
export const optionalTextVariable = (name: string, about: string): Variable<string | undefined> =>
  optional(name, about, text)

export const optionalUrlVariable = (name: string, about: string): Variable<string | undefined> =>
  optional(name, about, url)

/** Any text but the empty one. */
export const textVariable = (name: string, about: string, fallback: string): Variable<string> =>
  withDefault(name, about, fallback, text)

export const CONNECTIONS = {
  kafkaBrokers: withDefault(
    'KAFKA_BROKERS',
    'Kafka bootstrap servers, host:port, comma-separated',
    '127.0.0.1:9092',
    text.transform((value) => value.split(',').map((broker) => broker.trim())),
  ),
  kafkaTls: withDefault('KAFKA_TLS', 'Speak TLS to the brokers', 'false', flag),
  kafkaTlsCa: optional('KAFKA_TLS_CA_FILE', 'PEM file with the CA of the brokers', fileContent),
  kafkaTlsCert: optional('KAFKA_TLS_CERT_FILE', 'PEM file with the client certificate', fileContent),
  kafkaTlsKey: optional('KAFKA_TLS_KEY_FILE', 'PEM file with the key of the client certificate', fileContent),
  kafkaSaslMechanism: optional(
    'KAFKA_SASL_MECHANISM',
    'plain, scram-sha-256, scram-sha-512 or oauthbearer',
    z.enum(['plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer']),
  ),
  kafkaSaslUsername: optional('KAFKA_SASL_USERNAME', 'SASL user', text),
  kafkaSaslPassword: optional('KAFKA_SASL_PASSWORD', 'SASL password', text),
  kafkaOAuthTokenFile: optional(
    'KAFKA_SASL_OAUTH_TOKEN_FILE',
    'File with the token for oauthbearer, read again at each authentication',
    text,
  ),
  kafkaOAuthTokenUrl: optional(
    'KAFKA_SASL_OAUTH_TOKEN_URL',
    'Or: endpoint that gives a token for client credentials',
    url,
  ),
  kafkaOAuthClientId: optional('KAFKA_SASL_OAUTH_CLIENT_ID', 'Client id for that endpoint', text),
  kafkaOAuthClientSecret: optional('KAFKA_SASL_OAUTH_CLIENT_SECRET', 'Client secret for that endpoint', text),
  kafkaOAuthScope: optional('KAFKA_SASL_OAUTH_SCOPE', 'Scope to ask that endpoint for', text),
  registryUrl: withDefault(
    'SCHEMA_REGISTRY_URL',
    'Confluent-compatible schema registry',
    'http://127.0.0.1:8081/apis/ccompat/v7',
    url,
  ),
  registryUsername: optional('SCHEMA_REGISTRY_USERNAME', 'User for basic authentication', text),
  registryPassword: optional('SCHEMA_REGISTRY_PASSWORD', 'Password for basic authentication', text),
  registryCa: optional('SCHEMA_REGISTRY_CA_FILE', 'PEM file with the CA of the registry', fileContent),
  redisUrl: withDefault('REDIS_URL', 'redis:// or rediss:// with user and password', 'redis://127.0.0.1:6379', url),
  redisCa: optional('REDIS_CA_FILE', 'PEM file with the CA of Redis', fileContent),
  clickhouseUrl: withDefault('CLICKHOUSE_URL', 'HTTP interface of ClickHouse', 'http://127.0.0.1:8123', url),
  clickhouseUser: withDefault('CLICKHOUSE_USER', 'ClickHouse user', 'default', text),
  clickhousePassword: optional('CLICKHOUSE_PASSWORD', 'Password of that user', text),
  clickhouseDatabase: withDefault('CLICKHOUSE_DATABASE', 'Database of all tables and views', 'millrace', text),
  clickhouseCa: optional('CLICKHOUSE_CA_FILE', 'PEM file with the CA of ClickHouse', fileContent),
} as const

export const STAGE = {
  pipelineFolder: required('MILLRACE_PIPELINE', 'Folder of the pipeline that the stage runs', text),
  opsPort: integerVariable('MILLRACE_OPS_PORT', 'Port of /live, /ready and /metrics; 0 = any free one', 0, {
    min: 0,
    max: 65_535,
  }),
  opsHost: withDefault('MILLRACE_OPS_HOST', 'Address that the ops port listens on', '127.0.0.1', text),
  logLevel: withDefault(
    'MILLRACE_LOG_LEVEL',
    'debug, info, warn, error or silent',
    'info',
    z.enum(['debug', 'info', 'warn', 'error', 'silent']) as z.ZodType<LogLevel, string>,
  ),
  shutdownMs: integerVariable(
    'MILLRACE_SHUTDOWN_MS',
    'Time to drain after SIGTERM before the process gives up, ms',
    20_000,
    {
      min: 100,
      max: 600_000,
    },
  ),
  sessionTimeoutMs: integerVariable('MILLRACE_SESSION_TIMEOUT_MS', 'Consumer group session, ms', 6_000, {
    min: 1_000,
    max: 300_000,
  }),
  memberId: optional(
    'MILLRACE_MEMBER_ID',
    'Static membership: a restart under the same name, one per process, moves no partition',
    text,
  ),
  start: withDefault(
    'MILLRACE_START',
    'Where a new consumer group begins: earliest, latest or a time (ISO 8601)',
    'earliest',
    start,
  ),
  onRetentionLost: withDefault(
    'MILLRACE_ON_RETENTION_LOST',
    'When records were deleted before they were read: stop the partition, or continue behind them',
    'stop',
    z.enum(['stop', 'continue']) as z.ZodType<'stop' | 'continue', string>,
  ),
  commitIntervalMs: integerVariable('MILLRACE_COMMIT_INTERVAL_MS', 'How often offsets are committed, ms', 1_000, {
    min: 50,
    max: 60_000,
  }),
  maxLaneBytes: integerVariable(
    'MILLRACE_MAX_LANE_BYTES',
    'Fetched bytes held per partition before it pauses',
    4_194_304,
    {
      min: 65_536,
      max: 1_073_741_824,
    },
  ),
  maxMemoryBytes: integerVariable(
    'MILLRACE_MAX_MEMORY_BYTES',
    'Resident memory that the process stays below without its models: fetched bytes of all partitions take a quarter of what is above 256 MiB',
    536_870_912,
    {
      min: 301_989_888,
      max: 1_099_511_627_776,
    },
  ),
  progressTimeoutMs: integerVariable(
    'MILLRACE_PROGRESS_TIMEOUT_MS',
    'A process with records to work on that has done nothing for this long, and waits for nothing, ends, ms',
    120_000,
    { min: 1_000, max: 3_600_000 },
  ),
  unknownSchemaWaitMs: integerVariable(
    'MILLRACE_UNKNOWN_SCHEMA_WAIT_MS',
    'How long a record waits for a schema id that the registry does not know, ms',
    30_000,
    { min: 0, max: 3_600_000 },
  ),
  allowSingleReplica: withDefault(
    'MILLRACE_ALLOW_SINGLE_REPLICA',
    'Start on topics that lose data with one broker',
    'false',
    flag,
  ),
} as const

/** Raw → compiled. Rejects everything that is wrong at once, each line naming its variable. */
export function readConfig<S extends Readonly<Record<string, Variable<unknown>>>>(
  variables: S,
  env: Environment,
): Compiled<S> {
  const problems: string[] = []
  const values: Record<string, unknown> = {}
  for (const [key, variable] of Object.entries(variables)) {
    const raw = env[variable.name]
    const given = raw === undefined || raw === '' ? variable.fallback : raw
    if (given === null) {
      if (!variable.optional) problems.push(`${variable.name} is not set: ${variable.about}`)
      continue
    }
    const parsed = variable.parse.safeParse(given)
    if (parsed.success) values[key] = parsed.data
    else problems.push(`${variable.name} ${parsed.error.issues.map((issue) => issue.message).join('; ')}`)
  }
  if (problems.length > 0) throw fatal('invalid_config', problems.join('\n'))
  return Object.freeze(values) as Compiled<S>
}

export type Connections = Compiled<typeof CONNECTIONS>

export function kafkaConfig(config: Connections): KafkaConfig {
  return {
    brokers: config.kafkaBrokers,
    tls: config.kafkaTls ? tlsFiles(config.kafkaTlsCa, config.kafkaTlsCert, config.kafkaTlsKey) : undefined,
    sasl: saslConfig(config),
  }
}

function saslConfig(config: Connections): KafkaConfig['sasl'] {
  const { kafkaSaslMechanism: mechanism, kafkaSaslUsername: username, kafkaSaslPassword: password } = config
  if (mechanism === undefined) return undefined
  if (mechanism !== 'oauthbearer') {
    if (username === undefined || password === undefined) {
      throw fatal('invalid_config', 'KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD')
    }
    return { mechanism, username, password }
  }
  const { kafkaOAuthTokenFile: tokenFile, kafkaOAuthTokenUrl: tokenUrl } = config
  if (tokenFile !== undefined && tokenUrl === undefined) return { mechanism, tokenFile }
  const { kafkaOAuthClientId: clientId, kafkaOAuthClientSecret: clientSecret, kafkaOAuthScope: scope } = config
  if (tokenFile !== undefined || tokenUrl === undefined || clientId === undefined || clientSecret === undefined) {
    throw fatal(
      'invalid_config',
      'oauthbearer needs either KAFKA_SASL_OAUTH_TOKEN_FILE, or KAFKA_SASL_OAUTH_TOKEN_URL with KAFKA_SASL_OAUTH_CLIENT_ID and KAFKA_SASL_OAUTH_CLIENT_SECRET',
    )
  }
  return { mechanism, tokenUrl, clientId, clientSecret, scope }
}

export function registryConfig(config: Connections): RegistryConfig {
  return {
    url: config.registryUrl,
    username: config.registryUsername,
    password: config.registryPassword,
    tls: tlsFiles(config.registryCa),
  }
}

/** One connection per input topic of the sinks is what a process has in use at once. */
const CLICKHOUSE_CONNECTIONS = 8

export function clickHouseConfig(config: Connections, requestTimeoutMs: number): ClickHouseConfig {
  return {
    url: config.clickhouseUrl,
    user: config.clickhouseUser,
    password: config.clickhousePassword,
    database: config.clickhouseDatabase,
    tls: config.clickhouseCa === undefined ? undefined : { ca: config.clickhouseCa },
    requestTimeoutMs,
    maxConnections: CLICKHOUSE_CONNECTIONS,
  }
}

function tlsFiles(ca?: string, cert?: string, key?: string): { ca?: string; cert?: string; key?: string } {
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  }
}

/** The list that `--help` prints and the README shows. */
export function describeVariables(variables: Readonly<Record<string, Variable<unknown>>>): readonly string[] {
  return Object.values(variables).map(({ name, about, fallback }) => {
    const note = fallback === null ? '' : ` (default ${fallback})`
    return `| \`${name}\` | ${about}${note} |`
  })
}
