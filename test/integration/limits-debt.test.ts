import { expect, inject, onTestFinished, test } from 'vitest'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { connectRedis } from '../../infra/runtime/redis/redis-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { Cost } from '../../ingest/limits/limits.ts'
import { takeFromRedis } from '../../ingest/limits/redis-limits.ts'
import { eventually } from '../support/eventually.ts'
import { uniqueName } from '../support/unique-name.ts'

// A cost that nobody can have does not break the script, and nobody pays for it for ever.

const DAYS_31_MS = 31 * 86_400_000
const HUGE = [9_000_000_000_000_000, 2 ** 64, 1e300]

async function setUp() {
  const { redisUrl: url } = readConfig(CONNECTIONS, inject('stack').env)
  const redis = connectRedis({ url, commandTimeoutMs: 5_000, logger: silentLogger })
  onTestFinished(() => redis.close())
  await eventually(() => redis.ping(), { deadlineMs: 60_000 })
  const tenant = uniqueName('debt')
  const limits = (['rate', 'month'] as const).map((kind) => ({
    ...{ name: `tenant-${kind}`, key: `millrace:{${tenant}}:limit:${kind}`, kind, limit: 1_000 },
    of: kind === 'rate' ? ('bytes' as const) : ('events' as const),
  }))
  const take = (cost: Partial<Cost>, owed: readonly number[] = []) =>
    takeFromRedis(redis, limits, { requests: 0, events: 0, bytes: 0, ...cost }, owed)
  const ttl = async (): Promise<number[]> =>
    (await redis.evaluate(
      "local left = {} for i, key in ipairs(KEYS) do left[i] = redis.call('PTTL', key) end return left",
      limits.map(({ key }) => key),
      [],
    )) as number[]
  return { take, ttl }
}

test.each(HUGE)('a cost of %d bytes is a debt of a month at most', async (bytes) => {
  const { take, ttl } = await setUp()
  expect((await take({ bytes })).readings[0]).toMatchObject({ waitMs: 0 })
  const after = await take({ bytes: 1 })
  const [rate] = after.readings
  expect(rate?.left).toBeLessThan(0)
  expect(rate?.waitMs).toBeGreaterThan(DAYS_31_MS / 2)
  expect(rate?.waitMs).toBeLessThanOrEqual(DAYS_31_MS + 2_000)
  expect((await ttl())[0]).toBeLessThanOrEqual(DAYS_31_MS + 3_000)
})

test.each(HUGE)('%d that are owed are a debt of a month at most, and use the month up', async (owed) => {
  const { take } = await setUp()
  await take({}, [owed, owed])
  const { readings, nowMs } = await take({ events: 1 })
  expect(readings[0]?.left).toBeLessThan(0)
  const next = new Date(nowMs)
  const begins = Date.UTC(next.getUTCFullYear(), next.getUTCMonth() + 1, 1)
  expect(readings[1]?.left).toBeLessThan(0)
  expect(readings[1]?.waitMs).toBe(begins - nowMs)
})

test('a debt that is no larger than that is paid in full', async () => {
  const { take } = await setUp()
  const { nowMs: since } = await take({ bytes: 3_600_000 })
  const { readings, nowMs } = await take({ bytes: 1 })
  // by the clock of Redis: an hour of 1,000 bytes a second, less what has passed, and the byte that is asked for
  expect(readings[0]?.waitMs).toBe(3_600_000 - 1_000 + 1 - (nowMs - since))
})
