import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig } from '../../infra/runtime/config.ts'
import { type FollowedControlLog, startControlLog } from '../../infra/runtime/control/start-control-log.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { createScope } from '../../infra/runtime/lifecycle/scope.ts'
import { connectRedis, type RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { Access } from '../../ingest/access/access.ts'
import { createAccess } from '../../ingest/access/create-access.ts'
import { createLastUsed } from '../../ingest/access/last-used.ts'
import { createKey } from '../../ingest/commands/key-create.ts'
import { withLastUse } from '../../ingest/commands/key-last-used.ts'
import { listKeys } from '../../ingest/commands/key-list.ts'
import { revokeKey } from '../../ingest/commands/key-revoke.ts'
import { changeTenant } from '../../ingest/commands/tenant-change.ts'
import { createTenant } from '../../ingest/commands/tenant-create.ts'
import { BY, keyRequest } from '../support/access-log.ts'
import { eventually } from '../support/eventually.ts'
import { type LanesOnKafka, lanesOn } from '../support/lanes-on-kafka.ts'
import { copyPipeline, ORDERS } from '../support/pipeline-copy.ts'
import { uniqueName } from '../support/unique-name.ts'

// Who gets in, with several gateways that read one control log on a real broker, and from the command line.

const { env } = inject('stack')
const settings = readConfig(CONNECTIONS, env)
const { brokers } = kafkaConfig(settings)
const DEADLINE_MS = 60_000
const MANY_COMMANDS = { timeout: 600_000 }
/** What is promised of a revocation. */
const REVOKED_MS = 5_000
/** For gateways that are to notice that they cannot read. */
const STALE_MS = 2_000

const scope = createScope(silentLogger)
let kafka: LanesOnKafka
beforeAll(async () => {
  kafka = await lanesOn(brokers)
})
afterAll(async () => {
  await scope.close()
  await kafka?.stop()
})

interface Process {
  readonly control: FollowedControlLog
  readonly access: Access
  readonly redis: RedisClient
  /** Whom the key lets in, or why not. */
  admitted(text: string): Promise<string>
  /** Ends what reads the control log; the process goes on with what it knows. */
  stopReading(): Promise<void>
}

async function newTopic(): Promise<string> {
  const name = uniqueName('control')
  const topic = { name, partitions: 1, replicas: 1, config: { 'message.timestamp.type': 'LogAppendTime' } }
  await eventually(() => kafka.admin.createTopic(topic), { deadlineMs: DEADLINE_MS })
  return name
}

/** What of a gateway decides who gets in, with connections of its own. */
async function gateway(topic: string, own: { redisUrl?: string; maxStaleMs?: number } = {}): Promise<Process> {
  const { redisUrl = settings.redisUrl, maxStaleMs = 60_000 } = own
  const deps = { clock: systemClock, logger: silentLogger }
  const { connections, logReader } = await scope.start('lanes', async () => {
    const lanes = await lanesOn(brokers)
    return { value: lanes, stop: () => lanes.stop() }
  })
  const writer = await scope.start('writer', async () => createIdempotentWriter({ ...deps, connections }))
  const registry = createSchemaRegistry(registryConfig(settings))
  const started = await startControlLog({ ...deps, brokers: connections, log: logReader, writer, registry, topic })
  const control = await scope.start('control log', async () => started)
  const redis = connectRedis({ url: redisUrl, commandTimeoutMs: 5_000, logger: silentLogger })
  await scope.start('Redis', async () => ({ value: redis, stop: () => redis.close() }))
  const lastUsed = createLastUsed({ redis, clock: systemClock })
  const access = createAccess({ ...deps, control, jwt: null, maxStaleMs, lastUsed })
  return {
    ...{ control, access, redis, stopReading: () => started.stop() },
    async admitted(text) {
      const admission = await access.admit({ authorization: `Bearer ${text}` })
      return admission.ok ? admission.principal.credential : admission.code
    },
  }
}

test('what one gateway is told holds at all within 5 s: a new key, its revocation, a suspended tenant', async () => {
  const topic = await newTopic()
  const limited = { maxStaleMs: STALE_MS }
  const [first, ...others] = [await gateway(topic), await gateway(topic, limited), await gateway(topic, limited)]
  await createTenant(first.control, { tenant: 'acme', limits: {} }, BY)
  const one = await createKey(first.control, keyRequest(), Date.now(), BY)
  const two = await createKey(first.control, keyRequest(), Date.now(), BY)
  /** Each comes to the answer; who is asked later than is promised lets nobody in, also when the machine holds up its log. */
  const everywhere = async (text: string, answer: string): Promise<void> => {
    const since = performance.now()
    const tooLate: string[] = []
    const ask = async (process: Process): Promise<void> => {
      const isLate = performance.now() - since > REVOKED_MS
      const said = await process.admitted(text)
      if (isLate && said.startsWith('key:')) tooLate.push(said)
      expect(said).toBe(answer)
    }
    const all = [first, ...others].map((process) => eventually(() => ask(process), { deadlineMs: DEADLINE_MS }))
    await Promise.all(all)
    if (!answer.startsWith('key:')) expect(tooLate).toEqual([])
  }
  await everywhere(one.text, `key:${one.key.id}`)
  await everywhere(two.text, `key:${two.key.id}`)

  expect(await revokeKey(first.control, one.key.id, BY)).toBe(true)
  // at the gateway that was told, at once
  expect(await first.admitted(one.text)).toBe('invalid_credential')
  await everywhere(one.text, 'invalid_credential')
  await everywhere(two.text, `key:${two.key.id}`)

  await changeTenant(first.control, 'acme', { state: 'suspended' }, BY)
  await everywhere(two.text, 'tenant_refused')
})

test('gateways that make keys at the same time: of a principal two stay live', async () => {
  const topic = await newTopic()
  const processes = [await gateway(topic), await gateway(topic), await gateway(topic)]
  await createTenant(processes[0]?.control as FollowedControlLog, { tenant: 'acme', limits: {} }, BY)
  await eventually(() => expect(processes.map(({ control }) => control.revision)).toEqual([1, 1, 1]), {
    deadlineMs: DEADLINE_MS,
  })
  const made = await Promise.allSettled(
    processes.flatMap(({ control }) => [1, 2].map(() => createKey(control, keyRequest(), Date.now(), BY))),
  )
  const told = made.flatMap((result) => (result.status === 'fulfilled' ? [result.value.key.id] : []))
  const refusals = made.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []))
  expect([told.length, new Set(refusals)]).toEqual([2, new Set(['too_many_keys'])])
  await eventually(
    () => {
      for (const { control } of processes) {
        const live = listKeys(control, 'acme', Date.now()).filter(({ state }) => state === 'active')
        expect(live.map(({ id }) => id).sort()).toEqual([...told].sort())
      }
    },
    { deadlineMs: DEADLINE_MS },
  )
})

test('a gateway that cannot read the control log lets nobody in after a while', async () => {
  const topic = await newTopic()
  const process = await gateway(topic, { maxStaleMs: STALE_MS })
  await createTenant(process.control, { tenant: 'acme', limits: {} }, BY)
  const { text, key } = await createKey(process.control, keyRequest(), Date.now(), BY)
  const { readAt } = process.control
  await eventually(
    async () => {
      expect(process.control.readAt).toBeGreaterThan(readAt + STALE_MS)
      expect(await process.admitted(text)).toBe(`key:${key.id}`)
    },
    { deadlineMs: DEADLINE_MS },
  )
  await process.stopReading()
  await eventually(async () => expect(await process.admitted(text)).toBe('access_unavailable'), {
    deadlineMs: DEADLINE_MS,
  })
})

test('when a key was last used is in Redis; without Redis it gets in as well', async () => {
  const topic = await newTopic()
  const process = await gateway(topic)
  await createTenant(process.control, { tenant: 'acme', limits: {} }, BY)
  const { text, key } = await createKey(process.control, keyRequest(), Date.now(), BY)
  const other = await createKey(process.control, keyRequest(), Date.now(), BY)
  const before = Date.now()
  expect(await process.admitted(text)).toBe(`key:${key.id}`)
  const keys = [key, other.key]
  await eventually(
    async () => {
      const [used, unused] = await withLastUse(process.redis, keys)
      expect(used?.lastUsedAt).toBeGreaterThanOrEqual(before)
      expect(unused?.lastUsedAt).toBe(null)
    },
    { deadlineMs: DEADLINE_MS },
  )
  // nobody listens on port 1
  const alone = await gateway(topic, { redisUrl: 'redis://127.0.0.1:1' })
  expect(await alone.admitted(text)).toBe(`key:${key.id}`)
})

test('from the command line: a tenant and its keys; the key alone on standard output', MANY_COMMANDS, async () => {
  const root = path.resolve(import.meta.dirname, '../..')
  const millrace = async (...args: readonly string[]) =>
    await promisify(execFile)(process.execPath, ['--conditions=millrace-source', 'infra/cli/main.ts', ...args], {
      cwd: root,
      env: { ...process.env, ...env },
    })
  const { folder } = copyPipeline(ORDERS)
  await millrace('topics', folder, '--partitions', '1', '--allow-single-replica')
  const tenant = uniqueName('tenant')
  const created = await millrace(
    'tenant',
    'create',
    tenant,
    '--events-per-second',
    '7',
    '--events-per-month',
    '9000',
    '--actor',
    'ann',
  )
  expect(created.stdout).toMatch(new RegExp(`^${tenant} +active +events per second 7, events per month 9000 .* ann\n$`))
  await expect(millrace('tenant', 'create', tenant)).rejects.toMatchObject({
    ...{ code: 1, stdout: '', stderr: expect.stringContaining(`there is a tenant ${tenant} already`) },
  })
  const changed = await millrace('tenant', 'limits', tenant, '--events-per-month', 'none')
  expect(changed.stdout).toMatch(/ events per second 7 {2}\d/)

  const request = ['--tenant', tenant, '--principal', 'shop', '--scopes', 'read,ingest', '--expires', '90d']
  const made = await millrace('key', 'create', ...request)
  expect(made.stdout).toMatch(/^mr_live_\w{12}_\w{43}_\w{6}\n$/)
  expect(made.stderr).toContain(`${tenant}/shop`)
  expect(made.stderr).not.toContain(made.stdout.trim())
  const id = made.stdout.split('_')[2] ?? ''
  const rotated = await millrace('key', 'rotate', id)
  await expect(millrace('key', 'create', ...request)).rejects.toMatchObject({
    ...{ code: 1, stdout: '', stderr: expect.stringContaining(`shop of ${tenant} has 2 live keys`) },
  })
  expect((await millrace('key', 'revoke', id)).stdout).toBe(`revoked  ${id}\n`)
  expect((await millrace('key', 'revoke', id)).stdout).toBe(`${id} was revoked before\n`)

  const listed = await millrace('key', 'list', '--tenant', tenant, '--json')
  const second = rotated.stdout.split('_')[2]
  const keys = listed.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  expect(keys.map((key) => [key['id'], key['state'], key['scopes'], key['lastUsedAt']])).toEqual([
    [id, 'revoked', ['ingest', 'read'], null],
    [second, 'active', ['ingest', 'read'], null],
  ])
  expect((await millrace('key', 'list', '--tenant', tenant)).stdout).toMatch(/used never {2}no limits\n/)
  expect((await millrace('tenant', 'suspend', tenant)).stdout).toContain(' suspended ')
  expect((await millrace('tenant', 'list')).stdout).toMatch(new RegExp(`^${tenant} +suspended`, 'm'))
  expect((await millrace('tenant', 'resume', tenant)).stdout).toContain(' active ')
})
