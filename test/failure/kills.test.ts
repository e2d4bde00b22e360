import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Stack } from '../../infra/local/stack.ts'
import { connectRedis } from '../../infra/runtime/redis/redis-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { tableKeyText, tablePositionsKey, tableReadyKey, tableRowKeyPrefix } from '../../schemas/redis-keys.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { startTestStack } from '../support/test-stack.ts'

// a stack of its own: these tests kill its components
let stack: { readonly value: Stack; stop(): Promise<void> }
beforeAll(async () => {
  stack = await startTestStack()
})
afterAll(() => stack.stop())

const EVENTS = 50_000
const DEADLINE_MS = 300_000
const complete = { events: EVENTS, missing: 0, duplicates: 0, labelsMissing: 0 }

async function predicted(run: Awaited<ReturnType<typeof runPipeline>>, atLeast: number): Promise<void> {
  await eventually(
    async () => {
      const { predicted: now } = await run.account()
      if (now < atLeast) throw new Error(`${now} of ${atLeast} predictions`)
    },
    { deadlineMs: DEADLINE_MS },
  )
}

test('each stage killed in turn during 50,000 events: nothing is missing', { timeout: 2 * DEADLINE_MS }, async () => {
  const run = await runPipeline(copyPipeline(FLIGHTS).folder, stack.value.env)
  const replay = run.replay({ limit: EVENTS, rate: '4000' })
  for (const [at, name] of (['processors', 'inference', 'sinks'] as const).entries()) {
    await predicted(run, 2_000 + at * 12_000)
    run.stage(name).kill('SIGKILL')
  }
  expect(await replay.exited).toBe(0)
  expect(await run.settled(EVENTS, DEADLINE_MS)).toMatchObject(complete)
  expect((['processors', 'inference', 'sinks'] as const).map((name) => run.stage(name).restarts)).toEqual([1, 1, 1])
})

test('Kafka killed and started again: nothing is missing, every process recovers', {
  timeout: 2 * DEADLINE_MS,
}, async () => {
  const run = await runPipeline(copyPipeline(FLIGHTS).folder, stack.value.env)
  const replay = run.replay({ limit: EVENTS, rate: '4000' })
  await predicted(run, 5_000)
  stack.value.component('kafka')?.kill('SIGKILL')
  await stack.value.ready('kafka')
  expect(await replay.exited).toBe(0)
  // a broker that answers again may not know for a moment what it leads
  const { events } = await eventually(() => run.account(), { deadlineMs: DEADLINE_MS })
  expect((await run.settled(events, DEADLINE_MS)).events).toBeGreaterThanOrEqual(EVENTS)
})

test('ClickHouse and Redis away during a run: everything waits and nothing is missing', {
  timeout: 2 * DEADLINE_MS,
}, async () => {
  const run = await runPipeline(copyPipeline(FLIGHTS).folder, stack.value.env)
  const replay = run.replay({ limit: 20_000, rate: '4000' })
  await predicted(run, 2_000)
  await stack.value.component('clickhouse')?.stop()
  await stack.value.component('redis')?.stop()
  expect(await replay.exited).toBe(0)
  stack.value.component('redis')?.start()
  stack.value.component('clickhouse')?.start()
  await stack.value.ready('clickhouse')
  expect(await run.settled(20_000, DEADLINE_MS)).toMatchObject({ ...complete, events: 20_000 })
  expect(run.stage('sinks').restarts).toBe(0)
})

test('Redis that lost all its data is filled again from the table topic', { timeout: DEADLINE_MS }, async () => {
  const run = await runPipeline(copyPipeline(FLIGHTS).folder, stack.value.env)
  expect(await run.replay({ limit: 500, rate: 'max' }).exited).toBe(0)
  const redis = connectRedis({ url: stack.value.env['REDIS_URL'] ?? '', commandTimeoutMs: 5_000, logger: silentLogger })
  try {
    const key = `${tableRowKeyPrefix(run.pipeline.name, 'weather')}${tableKeyText(['EWR', Date.parse('2013-03-15T12:00Z')])}`
    const ready = tableReadyKey(run.pipeline.name, 'weather')
    const read = async () => (await redis.getMany([[ready, key]]))[0] ?? []
    const before = await read()
    expect(before.every((value) => value !== null)).toBe(true)
    await redis.transaction([
      { op: 'delete', key },
      { op: 'delete', key: ready },
      { op: 'delete', key: tablePositionsKey(run.pipeline.name, 'weather') },
    ])
    await eventually(async () => expect((await read())[1]).toEqual(before[1]), { deadlineMs: 60_000 })
    await eventually(async () => expect((await read())[0]).not.toBeNull(), { deadlineMs: 60_000 })
  } finally {
    await redis.close()
  }
  expect(await run.settled(500, DEADLINE_MS)).toMatchObject({ ...complete, events: 500 })
})
