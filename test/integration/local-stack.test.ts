import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freePorts } from '../../infra/local/ports.ts'
import { readStackSettings, type StackSettings } from '../../infra/local/settings.ts'
import { type Stack, startStack } from '../../infra/local/stack.ts'
import { eventually } from '../support/eventually.ts'

let home: string
let settings: StackSettings
let running: { value: Stack; stop(): Promise<void> } | undefined

async function settingsFor(folder: string): Promise<StackSettings> {
  const [kafka, controller, registry, redis, clickhouse] = await freePorts(5)
  return readStackSettings({
    MILLRACE_DATA: folder,
    MILLRACE_KAFKA_PORT: String(kafka),
    MILLRACE_KAFKA_CONTROLLER_PORT: String(controller),
    MILLRACE_REGISTRY_PORT: String(registry),
    MILLRACE_REDIS_PORT: String(redis),
    MILLRACE_CLICKHOUSE_PORT: String(clickhouse),
  })
}

async function start(): Promise<Stack> {
  running = await startStack(settings, { onProgress: () => {} })
  return running.value
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'millrace-stack-'))
  settings = await settingsFor(home)
})

afterAll(async () => {
  await running?.stop()
  await rm(home, { recursive: true, force: true })
})

const kafkaOf = (stack: Stack): Kafka =>
  new Kafka({ brokers: [stack.env['KAFKA_BROKERS'] ?? ''], logLevel: logLevel.NOTHING })

async function topicsOf(stack: Stack): Promise<string[]> {
  const admin = kafkaOf(stack).admin()
  await admin.connect()
  try {
    return await admin.listTopics()
  } finally {
    await admin.disconnect()
  }
}

async function clickhouse(stack: Stack, sql: string): Promise<string> {
  const response = await fetch(stack.env['CLICKHOUSE_URL'] ?? '', { method: 'POST', body: sql })
  const answer = await response.text()
  if (!response.ok) throw new Error(answer)
  return answer.trim()
}

async function register(stack: Stack, schema: object): Promise<{ status: number; body: { id?: number } }> {
  const response = await fetch(`${stack.env['SCHEMA_REGISTRY_URL']}/subjects/kept-value/versions`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify({ schema: JSON.stringify(schema) }),
  })
  return { status: response.status, body: (await response.json()) as { id?: number } }
}

const FIRST = { type: 'record', name: 'Kept', fields: [{ name: 'a', type: 'int' }] }
const SECOND = { ...FIRST, fields: [...FIRST.fields, { name: 'b', type: 'int', default: 0 }] }
const INCOMPATIBLE = { ...FIRST, fields: [{ name: 'a', type: 'string' }] }

// one story, because each start costs seconds: the tests below build on one another
test('starts on an empty folder', async () => {
  const stack = await start()
  const admin = kafkaOf(stack).admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'kept', numPartitions: 2 }] })
  await admin.disconnect()
  await clickhouse(stack, 'CREATE TABLE kept (x UInt8) ENGINE = MergeTree ORDER BY x')
  await clickhouse(stack, 'INSERT INTO kept VALUES (1)')
  expect((await register(stack, FIRST)).status).toBe(200)
  expect(await readdir(settings.logDir)).toContain('kafka.log')
})

test('says which variable moves a port that is taken', async () => {
  const { ports } = settings
  await expect(startStack(settings, { onProgress: () => {} })).rejects.toThrow(
    `Port ${ports.clickhouse} (clickhouse) is taken: set MILLRACE_CLICKHOUSE_PORT to another one.`,
  )
})

test('the registry accepts compatible changes only', async () => {
  const stack = running?.value as Stack
  expect((await register(stack, INCOMPATIBLE)).status).toBe(409)
  expect((await register(stack, SECOND)).status).toBe(200)
})

test('components that are killed come back with what they had acknowledged', async () => {
  const stack = running?.value as Stack
  const third = { ...SECOND, fields: [...SECOND.fields, { name: 'c', type: 'int', default: 0 }] }
  const { id } = (await register(stack, third)).body
  await clickhouse(stack, 'INSERT INTO kept VALUES (2)')
  for (const name of ['registry', 'clickhouse', 'redis', 'kafka'] as const) {
    const component = stack.component(name)
    const before = component?.pid
    component?.kill('SIGKILL')
    await eventually(
      () => {
        expect(component?.restarts).toBe(1)
        expect(component?.pid).not.toBe(before)
      },
      { deadlineMs: 60_000 },
    )
  }
  await Promise.all((['registry', 'clickhouse', 'redis', 'kafka'] as const).map((name) => stack.ready(name)))
  expect((await register(stack, third)).body.id).toBe(id)
  expect(await clickhouse(stack, 'SELECT sum(x) FROM kept')).toBe('3')
  expect(await topicsOf(stack)).toContain('kept')
})

test('a component stays stopped until it is started', async () => {
  const stack = running?.value as Stack
  const redis = stack.component('redis')
  await redis?.stop()
  expect([redis?.state, redis?.pid]).toEqual(['stopped', null])
  redis?.start()
  await stack.ready('redis')
  expect(redis?.pid).toBeGreaterThan(0)
})

test('stops everything, and starts again with all data', async () => {
  const first = running?.value as Stack
  const pids = first.supervisor.processes.map(({ pid }) => pid ?? 0)
  await running?.stop()
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH')

  const stack = await start()
  expect(await topicsOf(stack)).toContain('kept')
  expect(await clickhouse(stack, 'SELECT sum(x) FROM kept')).toBe('3')
  expect((await register(stack, INCOMPATIBLE)).status).toBe(409)
})

test('a component that cannot start names its log and its last error, and nothing is left running', async () => {
  const folder = join(home, 'broken')
  const only = { KAFKA_BROKERS: 'x:1', SCHEMA_REGISTRY_URL: 'http://x', REDIS_URL: 'redis://x' }
  const [port] = await freePorts(1)
  const broken = readStackSettings({ ...only, MILLRACE_DATA: folder, MILLRACE_CLICKHOUSE_PORT: String(port) })
  // its data folder is the one that the running ClickHouse holds
  const sharing = { ...broken, dataDir: settings.dataDir }
  const error: unknown = await startStack(sharing, { onProgress: () => {} }).catch((reason: unknown) => reason)
  expect(String(error)).toContain(join(folder, 'logs', 'clickhouse.log'))
  expect(String(error)).toMatch(/another process uses it|Failed to create connection/)
  const free = createServer().listen(port, '127.0.0.1')
  await new Promise((resolve) => free.once('listening', resolve).once('error', resolve))
  expect(free.listening).toBe(true)
  free.close()
})
