import { expect, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { createLimits, type LimitsObserver } from '../../ingest/limits/create-limits.ts'
import { manualClock } from '../support/manual-clock.ts'
import { principal } from '../support/principals.ts'

// A process that has no Redis: what it lets through by itself. With Redis: test/integration/limits.test.ts.

const ONE = { requests: 1, events: 0, bytes: 0 }
const events = (count: number) => ({ requests: 0, events: count, bytes: 0 })
const away = async (): Promise<never> => {
  throw retryable('redis_unavailable', 'it is away')
}
const quiet: LimitsObserver = { countsAlone: () => {}, countsTogether: () => {} }

function noRedis(calls: { count: number } = { count: 0 }): RedisClient {
  const call = (): Promise<never> => {
    calls.count++
    return away()
  }
  return {
    getMany: away,
    getHash: away,
    transaction: away,
    writeMany: call,
    evaluate: call,
    subscribe: () => () => {},
    ping: away,
    info: away,
    close: async () => {},
  }
}

function alone(replicas = 1) {
  const clock = manualClock(Date.UTC(2026, 0, 31, 23, 59, 0))
  return { clock, limits: createLimits({ redis: noRedis(), replicas, clock, observer: quiet }) }
}

test('an unlimited principal costs no round trip and hears of no limit', async () => {
  const calls = { count: 0 }
  const limits = createLimits({ redis: noRedis(calls), replicas: 1, clock: manualClock(), observer: quiet })
  expect(await limits.take(principal('free'), ONE)).toEqual({ ok: true, standings: [], retryAfterSeconds: 0 })
  const byEvents = principal('by-events', { eventsPerSecond: 5 })
  expect(await limits.take(byEvents, ONE)).toMatchObject({ ok: true, standings: [] })
  expect(calls.count).toBe(0)
})

test('a share is the limit divided by the replicas, and fills again at that rate', async () => {
  const { clock, limits } = alone(4)
  const who = principal('who', { requestsPerSecond: 8 })
  const accepted = async (): Promise<number> => {
    let count = 0
    for (let turn = 0; turn < 20; turn++) if ((await limits.take(who, ONE)).ok) count++
    return count
  }
  expect(await accepted()).toBe(2)
  clock.advance(500)
  expect(await accepted()).toBe(1)
  clock.advance(60_000)
  expect(await accepted()).toBe(2)
})

test('a limit smaller than the replicas still lets through its part of requests', async () => {
  const { clock, limits } = alone(4)
  const who = principal('rare', { requestsPerSecond: 1 })
  let accepted = 0
  for (let second = 0; second < 100; second++) {
    if ((await limits.take(who, ONE)).ok) accepted++
    clock.advance(1_000)
  }
  expect(accepted).toBe(25)
})

test('a refusal names the limit, takes nothing of any, and says when to come again', async () => {
  const { limits } = alone()
  const who = principal('who', { requestsPerSecond: 10 }, { tenantLimits: { eventsPerSecond: 3 } })
  const refused = await limits.take(who, { requests: 1, events: 3, bytes: 0 }).then(() => limits.take(who, events(2)))
  expect(refused.ok).toBe(false)
  expect(refused.standings[0]).toMatchObject({ name: 'tenant-events', quota: 3, windowSeconds: 1, remaining: 0 })
  expect(refused.standings[1]).toMatchObject({ name: 'key-requests', remaining: 9 })
  expect(refused.retryAfterSeconds).toBeGreaterThanOrEqual(1)
  expect(refused.retryAfterSeconds).toBeLessThanOrEqual(2)
})

test('more events at once than the bucket holds go through when it is full, and are owed', async () => {
  const { clock, limits } = alone()
  const who = principal('bulk', { eventsPerSecond: 500 })
  expect((await limits.take(who, events(1_000))).ok).toBe(true)
  const refused = await limits.take(who, events(1))
  expect(refused).toMatchObject({ ok: false, standings: [{ remaining: 0, resetSeconds: 2 }] })
  clock.advance(1_000)
  expect((await limits.take(who, events(1))).ok).toBe(false)
  clock.advance(1_000)
  expect((await limits.take(who, events(1_000))).ok).toBe(true)
})

test('a month that is used up is free again when the next begins (UTC)', async () => {
  const { clock, limits } = alone()
  const who = principal('monthly', { eventsPerMonth: 100 })
  expect((await limits.take(who, events(100))).ok).toBe(true)
  const refused = await limits.take(who, events(1))
  expect(refused).toMatchObject({ ok: false, standings: [{ name: 'key-month', quota: 100, remaining: 0 }] })
  expect(refused.retryAfterSeconds).toBeGreaterThanOrEqual(60)
  clock.advance(60_000)
  expect((await limits.take(who, events(1))).ok).toBe(true)
})

test('what is given back can be taken again, and no more than that', async () => {
  const { limits } = alone()
  const who = principal('who', { eventsPerMonth: 100, eventsPerSecond: 200, requestsPerSecond: 10 })
  expect((await limits.take(who, { requests: 1, events: 100, bytes: 0 })).ok).toBe(true)
  await limits.giveBack(who, events(40))
  expect((await limits.take(who, events(41))).ok).toBe(false)
  expect((await limits.take(who, events(40))).ok).toBe(true)
  await limits.giveBack(who, events(1_000))
  const verdict = await limits.take(who, events(100))
  expect(verdict.ok).toBe(true)
  expect(verdict.standings.map(({ name, remaining }) => [name, remaining])).toEqual([
    ['key-month', 0],
    ['key-events', 100],
    ['key-requests', 9],
  ])
})

test('a limit of nothing lets nothing through', async () => {
  const { clock, limits } = alone()
  const who = principal('none', { requestsPerSecond: 0 })
  clock.advance(86_400_000)
  const refused = await limits.take(who, ONE)
  expect(refused.ok).toBe(false)
  expect(Number.isFinite(refused.retryAfterSeconds)).toBe(true)
})

test('Redis is asked once, then only by a probe each 250 ms', async () => {
  const clock = manualClock()
  const calls = { count: 0 }
  const said: string[] = []
  const observer = { countsAlone: ({ code }: { code: string }) => void said.push(code), countsTogether: () => {} }
  const limits = createLimits({ redis: noRedis(calls), replicas: 1, clock, observer })
  const who = principal('who', { requestsPerSecond: 1_000 })
  for (let turn = 0; turn < 100; turn++) await limits.take(who, ONE)
  // the request that noticed, and the probe that follows at once
  expect(calls.count).toBe(2)
  clock.advance(250)
  for (let turn = 0; turn < 100; turn++) await limits.take(who, ONE)
  expect(calls.count).toBe(3)
  expect(said).toEqual(['redis_unavailable'])
})

test('requests that run are counted by credential and tenant, and each ends once', () => {
  const { limits } = alone(2)
  const a = principal('a', { concurrentRequests: 4 }, { tenant: 't', tenantLimits: { concurrentRequests: 6 } })
  const b = principal('b', {}, { tenant: 't', tenantLimits: { concurrentRequests: 6 } })
  const first = limits.enter(a)
  expect(limits.enter(a)).not.toBeNull()
  expect(limits.enter(a)).toBeNull()
  expect(limits.enter(b)).not.toBeNull()
  expect(limits.enter(b)).toBeNull()
  first?.()
  first?.()
  expect(limits.enter(b)).not.toBeNull()
  expect(limits.enter(a)).toBeNull()
})
