import { afterAll, beforeAll, expect, inject, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { createKafkaClient, type KafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { startKafkaSource } from '../../infra/runtime/kafka/kafka-source.ts'
import { startKafkaWriter } from '../../infra/runtime/kafka/kafka-writer.ts'
import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'
import type { RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'
import { fetchTopicIds } from '../../infra/runtime/kafka/topic-ids.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { runClient } from '../support/python.ts'
import { uniqueName } from '../support/unique-name.ts'

const PARTITIONS = 4
const DEADLINE_MS = 40_000
let client: KafkaClient
let admin: KafkaAdmin
let writer: RecordWriter
const stops: (() => Promise<void>)[] = []

beforeAll(async () => {
  client = createKafkaClient(kafkaConfig(readConfig(CONNECTIONS, inject('stack').env)), 'test', silentLogger)
  const startedAdmin = await startKafkaAdmin(client)
  const startedWriter = await startKafkaWriter(client)
  admin = startedAdmin.value
  writer = startedWriter.value
  stops.push(startedAdmin.stop, startedWriter.stop)
})
afterAll(async () => {
  for (const stop of stops) await stop()
})

async function newTopic(): Promise<string> {
  const name = uniqueName('source')
  await admin.createTopic({
    name,
    partitions: PARTITIONS,
    replicas: 1,
    config: { 'message.timestamp.type': 'LogAppendTime' },
  })
  return name
}

async function fill(topic: string, perPartition: number, bytes = 10): Promise<void> {
  await writer.write(
    Array.from({ length: PARTITIONS }, (_, partition) => ({
      topic,
      partition,
      records: Array.from({ length: perPartition }, (_, i) => ({
        key: Buffer.from(`${i}`),
        value: Buffer.alloc(bytes),
      })),
    })),
  )
}

async function source(
  topic: string,
  group: string,
  maxLaneBytes = 1_000_000,
  own: { readonly startAt?: (partition: number) => Promise<number> } = {},
) {
  const generation = (await fetchTopicIds(client, [topic])).get(topic) ?? ''
  const started = await startKafkaSource({
    client,
    admin,
    clock: systemClock,
    group,
    topic,
    generation,
    maxLaneBytes,
    commitIntervalMs: 100,
    sessionTimeoutMs: 6_000,
    ...own,
  })
  let stopped: Promise<void> | null = null
  const stop = (): Promise<void> => {
    stopped ??= started.stop()
    return stopped
  }
  onTestFinished(stop)
  return { ...started.value, stop }
}

const limits = { maxRows: 500, maxBytes: 1_000_000, lingerMs: 0 }
type Source = Awaited<ReturnType<typeof source>>

/** Takes and settles until `enough`, and answers what was taken, as `partition/offset`. */
async function drain(from: Source, enough: (seen: Set<string>) => boolean): Promise<Set<string>> {
  const seen = new Set<string>()
  while (!enough(seen)) {
    for (const batch of await from.take(limits)) {
      for (const at of coordinates(batch)) seen.add(at)
      from.settle(batch, batch.length, 0)
    }
  }
  return seen
}

function coordinates(batch: RecordBatch): readonly string[] {
  return Array.from({ length: batch.length }, (_, i) => `${batch.partition}/${batch.offset(i)}`)
}

async function committedTotal(group: string, topic: string): Promise<number> {
  return [...(await admin.committed(group, topic)).values()].reduce<number>((sum, offset) => sum + (offset ?? 0), 0)
}

test('topic ids are UUIDs, and another topic of the same name has another', async () => {
  const topic = await newTopic()
  const id = (await fetchTopicIds(client, [topic])).get(topic)
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)
  expect((await fetchTopicIds(client, [topic])).get(topic)).toBe(id)
  await expect(fetchTopicIds(client, [uniqueName('none')])).rejects.toMatchObject({
    code: 'unknown_topic',
    fate: 'crash',
  })
})

test('everything settled is committed, and a restart goes on behind it', async () => {
  const topic = await newTopic()
  const group = uniqueName('group')
  await fill(topic, 1_000)
  const first = await source(topic, group)
  expect((await drain(first, (seen) => seen.size === 4_000)).size).toBe(4_000)
  await first.stop()
  expect(await committedTotal(group, topic)).toBe(4_000)

  await fill(topic, 10)
  const second = await source(topic, group)
  const seen = await drain(second, (all) => all.size === 40)
  expect([...seen].every((at) => Number(at.split('/')[1]) >= 1_000)).toBe(true)
})

test('what was taken and not settled is handed out again after a restart', async () => {
  const topic = await newTopic()
  const group = uniqueName('group')
  await fill(topic, 50)
  const first = await source(topic, group)
  const taken = await eventually(
    async () => {
      const [batch] = await first.take(limits)
      if (batch === undefined) throw new Error('nothing to take')
      return batch
    },
    { deadlineMs: DEADLINE_MS },
  )
  first.settle(taken, 20, 0)
  await first.stop()
  expect(await committedTotal(group, topic)).toBe(20)
  const again = await drain(await source(topic, group), (seen) => seen.size === 180)
  expect(again.has(`${taken.partition}/19`)).toBe(false)
  expect(again.has(`${taken.partition}/20`)).toBe(true)
})

test('a reader with positions of its own begins there, also when records behind the committed offset come first', async () => {
  const topic = await newTopic()
  const group = uniqueName('group')
  await fill(topic, 50)
  const first = await source(topic, group)
  await drain(first, (seen) => seen.size === 200)
  await first.stop()
  await fill(topic, 50)
  const again = await source(topic, group, undefined, {
    // slower than the first fetches, which come from the committed offset
    startAt: async () => {
      for (let asked = 0; asked < 50; asked++) await admin.ranges(topic)
      return 0
    },
  })
  const [batch] = await again.take(limits)
  expect(batch?.offset(0)).toBe(0)
})

test('a second member takes partitions over: nothing is skipped, and the first one knows what it lost', async () => {
  const topic = await newTopic()
  const group = uniqueName('group')
  await fill(topic, 500)
  const first = await source(topic, group)
  const held = await eventually(
    async () => {
      const batches = await first.take({ ...limits, maxRows: 2_000, lingerMs: 500 })
      if (batches.length < PARTITIONS) throw new Error(`${batches.length} lanes`)
      return batches
    },
    { deadlineMs: DEADLINE_MS },
  )
  const second = await source(topic, group)
  await eventually(() => expect(held.every((batch) => !first.owns(batch))).toBe(true), { deadlineMs: DEADLINE_MS })
  for (const batch of held) first.settle(batch, batch.length, 0)

  const seen = new Set<string>()
  const done = (): boolean => seen.size === 4 * 500
  const collect = async (from: Source): Promise<void> => {
    for (let batches = await from.take(limits); batches.length > 0; batches = await from.take(limits)) {
      for (const batch of batches) {
        for (const at of coordinates(batch)) seen.add(at)
        from.settle(batch, batch.length, 0)
      }
      if (done()) {
        first.endIntake()
        second.endIntake()
      }
    }
  }
  await Promise.all([collect(first), collect(second)])
  expect(seen.size).toBe(2_000)
})

test('with nobody taking, what is fetched stays within its bound, and all of it comes in order once it is taken', async () => {
  const topic = await newTopic()
  const maxLaneBytes = 200_000
  for (let round = 0; round < 8; round++) await fill(topic, 500, 1_000)
  const slow = await source(topic, uniqueName('group'), maxLaneBytes)
  await eventually(() => expect(slow.queuedBytes()).toBeGreaterThan(PARTITIONS * maxLaneBytes), {
    deadlineMs: DEADLINE_MS,
  })
  // beyond the bound there is at most the one fetch of each partition that crossed it
  expect(slow.queuedBytes()).toBeLessThan(PARTITIONS * (maxLaneBytes + 1_300_000))
  const next = new Map<number, number>()
  let total = 0
  while (total < 8 * 500 * PARTITIONS) {
    for (const batch of await slow.take(limits)) {
      expect(batch.offset(0)).toBe(next.get(batch.partition) ?? 0)
      next.set(batch.partition, batch.offset(batch.length - 1) + 1)
      total += batch.length
      slow.settle(batch, batch.length, 0)
    }
  }
  expect(slow.queuedBytes()).toBe(0)
})

test('a topic is read whatever its producers compressed it with', async () => {
  const topic = await newTopic()
  await runClient('write_codecs.py', [topic], inject('stack').env)
  const reader = await source(topic, uniqueName('group'))
  const keys = new Map<string, number>()
  for (let total = 0; total < 50; ) {
    for (const batch of await reader.take(limits)) {
      for (let i = 0; i < batch.length; i++) {
        const codec = `${batch.key(i)}`
        const nth = keys.get(codec) ?? 0
        expect(`${batch.value(i)}`).toBe(`${codec} ${nth} `.repeat(20))
        keys.set(codec, nth + 1)
      }
      total += batch.length
      reader.settle(batch, batch.length, 0)
    }
  }
  expect([...keys]).toEqual(['none', 'gzip', 'snappy', 'lz4', 'zstd'].map((codec) => [codec, 10]))
})
