import { beforeEach, expect, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import type { PartitionRange } from '../../infra/runtime/kafka/kafka-admin.ts'
import type { RedisWrite } from '../../infra/runtime/redis/redis-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { tablePositionsKey, tableReadyKey } from '../../schemas/redis-keys.ts'
import { createTableLoader, type TableLoader } from '../../sinks/online/table-loader.ts'
import { manualClock } from '../support/manual-clock.ts'

const POSITIONS = tablePositionsKey('flights', 'weather')
const READY = tableReadyKey('flights', 'weather')

/** Redis as far as the loader needs it; `failures` are thrown first. */
function memoryRedis() {
  const texts = new Map<string, string>()
  const hashes = new Map<string, Map<string, string>>()
  const failures: unknown[] = []
  const failNext = (): void => {
    const failure = failures.shift()
    if (failure !== undefined) throw failure
  }
  return {
    failures,
    ready: () => texts.has(READY),
    flush() {
      texts.clear()
      hashes.clear()
    },
    async getHash(key: string) {
      failNext()
      return Object.fromEntries(hashes.get(key) ?? [])
    },
    getMany: async (groups: readonly (readonly string[])[]) =>
      groups.map((group) => group.map((key) => (texts.has(key) ? Buffer.from(texts.get(key) ?? '') : null))),
    async transaction(writes: readonly RedisWrite[]) {
      failNext()
      for (const write of writes) {
        if (write.op === 'set') texts.set(write.key, write.value.toString())
        else if (write.op === 'delete') {
          texts.delete(write.key)
          hashes.delete(write.key)
        } else hashes.set(write.key, (hashes.get(write.key) ?? new Map()).set(write.field, write.value))
      }
    },
  }
}

/** A source of some partitions that settles what it is told to. */
function memoryLanes(loader: TableLoader, partitions: readonly number[]) {
  const at = new Map<number, number>()
  let rewinds = 0
  const assign = async (): Promise<void> => {
    at.clear()
    const starts = await Promise.all(partitions.map(async (p) => [p, await loader.startAt(p)] as const))
    for (const [partition, start] of starts) at.set(partition, start)
  }
  return {
    assign,
    settle: (partition: number, to: number) => void at.set(partition, to),
    starts: () => [...at.values()],
    rewinds: () => rewinds,
    positions: () => new Map(at),
    async restart() {
      rewinds += 1
      await assign()
    },
  }
}

let redis: ReturnType<typeof memoryRedis>
let log: PartitionRange[]

beforeEach(() => {
  redis = memoryRedis()
  log = [
    { partition: 0, low: 0, high: 100 },
    { partition: 1, low: 5, high: 5 },
  ]
})

const newLoader = (generation = 'topic-1'): TableLoader =>
  createTableLoader({
    pipeline: 'flights',
    table: 'weather',
    generation,
    ranges: async () => log,
    redis,
    clock: manualClock(),
    retry: { baseMs: 1, maxMs: 1 },
    checkMs: 1,
    logger: silentLogger,
  })

async function loadedTable(): Promise<TableLoader> {
  const loader = newLoader()
  const lanes = memoryLanes(loader, [0, 1])
  await lanes.assign()
  lanes.settle(0, 100)
  await loader.check(lanes)
  return loader
}

test('an empty Redis is loaded from the start, and ready once the end of then is settled', async () => {
  const loader = newLoader()
  const lanes = memoryLanes(loader, [0, 1])
  await lanes.assign()
  expect(lanes.starts()).toEqual([0, 5])
  log = [{ partition: 0, low: 0, high: 130 }, ...log.slice(1)]
  lanes.settle(0, 99)
  await loader.check(lanes)
  expect([redis.ready(), loader.waitsFor()]).toEqual([false, 'table weather is being loaded'])
  lanes.settle(0, 100)
  await loader.check(lanes)
  expect([redis.ready(), loader.waitsFor()]).toEqual([true, null])
})

test('a restarted process goes on where the positions are, and the table stays ready', async () => {
  await loadedTable()
  const lanes = memoryLanes(newLoader(), [0, 1])
  await lanes.assign()
  expect(lanes.starts()).toEqual([100, 5])
  expect(redis.ready()).toBe(true)
})

test('data that Redis loses while the process runs is noticed and loaded again', async () => {
  const loader = newLoader()
  const lanes = memoryLanes(loader, [0, 1])
  await lanes.assign()
  lanes.settle(0, 100)
  await loader.check(lanes)
  redis.flush()
  await loader.check(lanes)
  expect([lanes.rewinds(), lanes.starts(), redis.ready()]).toEqual([1, [0, 5], false])
  lanes.settle(0, 100)
  await loader.check(lanes)
  expect(redis.ready()).toBe(true)
})

test('a position written by a process that has not yet noticed the loss is not believed', async () => {
  await loadedTable()
  const old = await redis.getHash(POSITIONS)
  redis.flush()
  await redis.transaction([{ op: 'hash-set', key: POSITIONS, field: '0', value: old['0'] ?? '' }])
  const lanes = memoryLanes(newLoader(), [0, 1])
  await lanes.assign()
  expect(lanes.starts()).toEqual([0, 5])
  await redis.transaction([{ op: 'hash-set', key: POSITIONS, field: '0', value: old['0'] ?? '' }])
  const later = memoryLanes(newLoader(), [0])
  await later.assign()
  expect(later.starts()).toEqual([0])
})

test('two processes share one load; both must have settled their part before the table is ready', async () => {
  const [first, second] = [newLoader(), newLoader()]
  const [zero, one] = [memoryLanes(first, [0]), memoryLanes(second, [1])]
  log = log.map((range) => ({ ...range, high: 100 }))
  await zero.assign()
  await one.assign()
  zero.settle(0, 100)
  await first.check(zero)
  expect(redis.ready()).toBe(false)
  one.settle(1, 100)
  await second.check(one)
  await first.check(zero)
  expect([redis.ready(), first.waitsFor(), second.waitsFor(), zero.rewinds(), one.rewinds()]).toEqual([
    true,
    null,
    null,
    0,
    0,
  ])
  redis.flush()
  await first.check(zero)
  await second.check(one)
  expect([zero.starts(), one.starts(), redis.ready()]).toEqual([[0], [5], false])
})

test('a topic that was made anew, or cut at either end, is loaded from its start', async () => {
  await loadedTable()
  const anew = memoryLanes(newLoader('topic-2'), [0])
  await anew.assign()
  expect([anew.starts(), redis.ready()]).toEqual([[0], false])

  await loadedTable()
  log = [{ partition: 0, low: 0, high: 90 }]
  const truncated = memoryLanes(newLoader(), [0])
  await truncated.assign()
  expect([truncated.starts(), redis.ready()]).toEqual([[0], false])
})

test('a partition that was added to the topic begins at its start, the others go on', async () => {
  await loadedTable()
  log = [...log, { partition: 2, low: 0, high: 3 }]
  const lanes = memoryLanes(newLoader(), [0, 1, 2])
  await lanes.assign()
  expect([lanes.starts(), redis.ready()]).toEqual([[100, 5, 0], true])
})

test('a ready key that a slower process set for an earlier load is taken back', async () => {
  const loader = newLoader()
  const lanes = memoryLanes(loader, [0, 1])
  await lanes.assign()
  await redis.transaction([{ op: 'set', key: READY, value: 'topic-1:earlier' }])
  await loader.check(lanes)
  expect(redis.ready()).toBe(false)
})

test('a process without a partition is ready as soon as the others have loaded the table', async () => {
  const idle = newLoader()
  const none = memoryLanes(idle, [])
  await idle.check(none)
  expect(idle.waitsFor()).toBe('table weather is being loaded')
  await loadedTable()
  await idle.check(none)
  expect(idle.waitsFor()).toBe(null)
})

test('an assignment waits for Redis', async () => {
  redis.failures.push(retryable('redis_unavailable', 'down'), retryable('redis_unavailable', 'down'))
  const lanes = memoryLanes(newLoader(), [0])
  await lanes.assign()
  expect([lanes.starts(), redis.failures]).toEqual([[0], []])
})
