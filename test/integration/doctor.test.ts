import { Redis } from 'ioredis'
import { expect, inject, onTestFinished, test } from 'vitest'
import { commandConnections } from '../../infra/cli/connections.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { spawnNode } from '../support/spawn-process.ts'
import { uniqueName } from '../support/unique-name.ts'

const DEADLINE_MS = 240_000

async function millrace(...args: string[]): Promise<{ code: number | NodeJS.Signals; lines: readonly string[] }> {
  const run = spawnNode(['infra/cli/main.ts', ...args], { env: inject('stack').env })
  return { code: await run.exited, lines: (await run.exited.then(() => run.output())).trimEnd().split('\n') }
}

async function openAdmin(): Promise<KafkaAdmin> {
  const admin = await startKafkaAdmin(commandConnections({ ...process.env, ...inject('stack').env }).kafka)
  onTestFinished(() => admin.stop())
  return admin.value
}

test('what works is said: the brokers and their version, and that they fence, on a topic that is gone afterwards', {
  timeout: DEADLINE_MS,
}, async () => {
  const { lines } = await millrace('doctor')
  // the database is there once a pipeline has been deployed
  expect(lines.slice(0, 4)).toEqual([
    expect.stringMatching(/^ok +Kafka \(KAFKA_BROKERS .+\): 1 broker\(s\) answer, Kafka 4\.\d+ or newer$/),
    expect.stringMatching(/^ok +fencing: a writer is refused once another one has claimed its partition$/),
    expect.stringMatching(/^ok +schema registry/),
    expect.stringMatching(/^ok +Redis .+: answers, maxmemory-policy is noeviction$/),
  ])
  const { kafka } = commandConnections({ ...process.env, ...inject('stack').env })
  const native = kafka.native.admin()
  await native.connect()
  onTestFinished(() => native.disconnect())
  // a deletion is answered before every broker lists the topic no longer
  await eventually(
    async () => expect((await native.listTopics()).filter((each) => each.startsWith('millrace.doctor-'))).toEqual([]),
    { deadlineMs: 60_000 },
  )
})

test('a Redis that evicts is wrong', { timeout: DEADLINE_MS }, async () => {
  const redis = new Redis(inject('stack').env['REDIS_URL'] ?? '', { protocol: 2, disableClientInfo: true })
  onTestFinished(async () => {
    await redis.config('SET', 'maxmemory-policy', 'noeviction')
    redis.disconnect()
  })
  await redis.config('SET', 'maxmemory-policy', 'allkeys-lru')
  const { code, lines } = await millrace('doctor')
  expect(code).toBe(1)
  expect(lines).toContainEqual(
    expect.stringMatching(/^WRONG +Redis .+: answers, maxmemory-policy is allkeys-lru: .+ set noeviction$/),
  )
})

test('topics: missing ones, too few partitions, one replica, and times that are not those of the append', {
  timeout: 2 * DEADLINE_MS,
}, async () => {
  const admin = await openAdmin()
  const topic = uniqueName('departures')
  const declared = { name: topic, partitions: 2, replicas: 1, config: { 'message.timestamp.type': 'CreateTime' } }
  await eventually(() => admin.createTopic(declared), { deadlineMs: 60_000 })
  const { name, folder } = copyPipeline(FLIGHTS, (source) =>
    source.replace('event: {', `event: { topic: '${topic}', subject: '${topic}-value',`),
  )
  const missing = await millrace('doctor', folder, '--allow-single-replica')
  expect(missing.code).toBe(1)
  expect(missing.lines).toContain(`WRONG   topic ${name}.features: does not exist: run millrace topics`)

  expect(await millrace('topics', folder, '--allow-single-replica')).toMatchObject({ code: 0 })
  await admin.addPartitions(topic, 3)
  const found = await millrace('doctor', folder, '--allow-single-replica')
  const about = (lines: readonly string[], each: string) => lines.find((line) => line.includes(`topic ${each}:`))
  expect(about(found.lines, topic)).toMatch(/^WRONG .+message\.timestamp\.type is CreateTime: .+ its owner should set/)
  expect(about(found.lines, `${name}.features`)).toContain(
    `has 2 partitions, the pipeline has 3 lanes: run millrace topics grow ${folder} --lanes 3`,
  )
  expect(about(found.lines, `${name}.weather`)).toMatch(/^ok .+: 2 partition\(s\)$/)

  expect(await millrace('topics', 'grow', folder, '--lanes', '3')).toMatchObject({ code: 0 })
  const grown = await millrace('doctor', folder, '--allow-single-replica')
  expect(about(grown.lines, `${name}.features`)).toMatch(/^ok .+: 3 partition\(s\)$/)
  const strict = await millrace('doctor', folder)
  expect(about(strict.lines, `${name}.features`)).toMatch(/^WRONG .+it has 1 replica\(s\), 3 are needed/)
})
