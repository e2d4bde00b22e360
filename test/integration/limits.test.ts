import { setImmediate as turn } from 'node:timers/promises'
import { expect, inject, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { connectRedis, type RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { Principal } from '../../ingest/access/access.ts'
import { createLimits, type LimitsObserver } from '../../ingest/limits/create-limits.ts'
import type { Limits } from '../../ingest/limits/limits.ts'
import { monthOf } from '../../ingest/limits/month.ts'
import { MONTH_OF } from '../../ingest/limits/redis-limits.ts'
import { eventually } from '../support/eventually.ts'
import { manualClock } from '../support/manual-clock.ts'
import { principal } from '../support/principals.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { uniqueName } from '../support/unique-name.ts'

// Limits on a real Redis: shared by gateways, and kept to while Redis is frozen, gone, and back.

const events = (count: number) => ({ requests: 0, events: count, bytes: 0 })
const quiet: LimitsObserver = { countsAlone: () => {}, countsTogether: () => {} }
const shared = readConfig(CONNECTIONS, inject('stack').env).redisUrl

async function connection(url: string, commandTimeoutMs: number): Promise<RedisClient> {
  const client = connectRedis({ url, commandTimeoutMs, logger: silentLogger })
  onTestFinished(() => client.close())
  await eventually(() => client.ping(), { deadlineMs: 60_000 })
  return client
}

/** `count` gateways, each with a connection of its own. What only Redis can say is not decided by how busy the machine is. */
async function gateways(count: number, url = shared, timeoutMs = 5_000, observer = quiet): Promise<Limits[]> {
  return Promise.all(
    Array.from({ length: count }, async () =>
      createLimits({ redis: await connection(url, timeoutMs), replicas: count, clock: systemClock, observer }),
    ),
  )
}

test('two gateways share one bucket: all or nothing, with what is left and when to come again', async () => {
  const [one, other] = await gateways(2)
  const who = principal(uniqueName('shared'), { requestsPerSecond: 0.001, eventsPerSecond: 0.002, eventsPerMonth: 2 })
  if (one === undefined || other === undefined) throw new Error('two gateways')
  // a bucket of so little is full with less than one: the first goes through, and is owed
  const first = await one.take(who, { requests: 1, events: 1, bytes: 0 })
  expect(first.ok).toBe(true)
  const refused = await other.take(who, { requests: 0, events: 1, bytes: 0 })
  expect(refused.ok).toBe(false)
  expect(refused.standings.map(({ name }) => name)).toEqual(['key-events', 'key-requests', 'key-month'])
  expect(refused.standings[0]).toMatchObject({ quota: 0.002, remaining: 0 })
  // of 500, less what has passed
  expect(refused.retryAfterSeconds).toBeGreaterThan(300)
  expect(refused.standings[2]).toMatchObject({ quota: 2, remaining: 1 })
})

test('of takes that overlap on many gateways as many go through as the bucket holds', async () => {
  const many = await gateways(4)
  const tenant = uniqueName('tenant')
  const limits = { tenant, tenantLimits: { eventsPerMonth: 50 } }
  const keys = ['a', 'b', 'c'].map((name) => principal(name, {}, limits))
  const verdicts = await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      (many[index % 4] as Limits).take(keys[index % 3] as Principal, events(1)),
    ),
  )
  expect(verdicts.filter(({ ok }) => ok)).toHaveLength(50)
})

test('a month counter is of the month that Redis is in, and nothing stays for ever', async () => {
  const client = await connection(shared, 5_000)
  const limits = createLimits({ redis: client, replicas: 1, clock: systemClock, observer: quiet })
  const tenant = uniqueName('month')
  const who = principal('who', { eventsPerMonth: 10 }, { tenant })
  await limits.take(who, events(4))
  // each owes what comes back in 99 s
  const slow = principal('slow', { eventsPerSecond: 0.01, bytesPerSecond: 0.1 }, { tenant })
  await limits.take(slow, { requests: 0, events: 1, bytes: 10 })
  const key = `millrace:{${tenant}}:limit:month:key:who`
  const [[value]] = (await client.getMany([[key]])) as [[Buffer]]
  expect(value.toString()).toBe(`${monthOf(Date.now())}|4`)
  const script = "local left = {} for i, key in ipairs(KEYS) do left[i] = redis.call('PTTL', key) end return left"
  const keys = ['month:key:who', 'events:key:slow', 'bytes:key:slow'].map((own) => `millrace:{${tenant}}:limit:${own}`)
  const [month = 0, rate = 0, bytes = 0] = (await client.evaluate(script, keys, [])) as number[]
  expect(month).toBeGreaterThan(39 * 86_400_000)
  for (const ttl of [rate, bytes]) expect(ttl > 0 && ttl <= 101_000).toBe(true)
  // what was counted in another month counts no more
  await client.writeMany([{ op: 'set', key, value: `${monthOf(Date.now()) - 1}|10` }])
  expect((await limits.take(who, events(1))).ok).toBe(true)
})

test('what one gateway gives back any of them can take; never more than there was, and the times stay', async () => {
  const [one, other] = (await gateways(2)) as [Limits, Limits]
  const client = await connection(shared, 5_000)
  const tenant = uniqueName('back')
  const who = principal(
    'who',
    { eventsPerMonth: 10, eventsPerSecond: 0.01 },
    { tenant, tenantLimits: { eventsPerMonth: 9 } },
  )
  const left = async (limits: Limits) =>
    new Map((await limits.take(who, events(0.001))).standings.map(({ name, remaining }) => [name, remaining]))
  expect((await one.take(who, events(9))).ok).toBe(true)
  expect((await other.take(who, events(1))).ok).toBe(false)
  await other.giveBack(who, events(4))
  const monthKey = `millrace:{${tenant}}:limit:month:key:who`
  const ttlOf = "return redis.call('PTTL', KEYS[1])"
  expect(await client.evaluate(ttlOf, [monthKey], [])).toBeGreaterThan(39 * 86_400_000)
  expect(await left(one)).toEqual(
    new Map([
      ['key-month', 5],
      ['tenant-month', 4],
      ['key-events', 0],
    ]),
  )
  await one.giveBack(who, events(1_000))
  const rateKey = `millrace:{${tenant}}:limit:events:key:who`
  const [[month, rate]] = (await client.getMany([[monthKey, rateKey]])) as [[Buffer, Buffer]]
  expect(month.toString()).toBe(`${monthOf(Date.now())}|0`)
  expect(rate.toString()).toMatch(/^0\.010000\|\d{13}$/)
  // a month that is over is left alone
  await client.writeMany([{ op: 'set', key: monthKey, value: `${monthOf(Date.now()) - 1}|10` }])
  await one.giveBack(who, events(3))
  const [[before]] = (await client.getMany([[monthKey]])) as [[Buffer]]
  expect(before.toString()).toBe(`${monthOf(Date.now()) - 1}|10`)
  // and what was never taken stays as it is
  const nobody = principal(uniqueName('nobody'), { eventsPerMonth: 10, eventsPerSecond: 5 })
  await one.giveBack(nobody, events(3))
  expect(await left(one).then(() => other.take(nobody, events(10)))).toMatchObject({ ok: true })
})

test('months are told as the calendar does, leap years and turns of the year included', async () => {
  const client = await connection(shared, 5_000)
  const days = Array.from({ length: 1_200 }, (_, index) => 10_000 + index * 17)
  const months = (await client.evaluate(
    `${MONTH_OF}
     local months = {} for i, day in ipairs(ARGV) do months[i] = month_of(tonumber(day)) end return months`,
    [],
    days,
  )) as number[]
  expect(months).toEqual(days.map((day) => monthOf(day * 86_400_000)))
})

test('what was let through while Redis was away is taken from it afterwards', async () => {
  const client = await connection(shared, 5_000)
  let away = false
  const flaky: RedisClient = {
    ...client,
    evaluate: (...call) => (away ? Promise.reject(new Error('away')) : client.evaluate(...call)),
    writeMany: (writes) => (away ? Promise.reject(new Error('away')) : client.writeMany(writes)),
  }
  const clock = manualClock(Date.now())
  let together = 0
  const observer: LimitsObserver = {
    countsAlone: () => {},
    countsTogether({ takes }) {
      together += takes
    },
  }
  const limits = createLimits({ redis: flaky, replicas: 2, clock, observer })
  const who = principal(uniqueName('owed'), { eventsPerMonth: 100 })
  expect((await limits.take(who, events(20))).standings[0]?.remaining).toBe(80)
  away = true
  // 80 are left, 40 of them for this one of two gateways
  for (let count = 0; count < 30; count++) expect((await limits.take(who, events(1))).ok).toBe(true)
  expect((await limits.take(who, events(11))).ok).toBe(false)
  away = false
  clock.advance(1_000)
  // still counted here; its probe finds Redis
  expect((await limits.take(who, events(1))).ok).toBe(true)
  await eventually(() => expect(together).toBe(32), { deadlineMs: 60_000 })
  expect((await limits.take(who, events(1))).standings[0]?.remaining).toBe(48)
})

test('frozen, back, killed, and back empty: in total at most 1.25 times the limit, and nobody is locked out', async () => {
  const redis = await startRedisProcess()
  const changes: string[] = []
  const observer: LimitsObserver = {
    countsAlone: () => void changes.push('alone'),
    countsTogether: () => void changes.push('together'),
  }
  const both = await gateways(2, redis.url, 100, observer)
  const PER_SECOND = 300
  const AT_ONCE = 8
  const MOST_PAUSE_S = 0.25
  const who = principal('who', { eventsPerSecond: PER_SECOND })
  const began = performance.now()
  const seconds = (): number => (performance.now() - began) / 1_000
  let accepted = 0
  /** Seconds in which somebody asked; while nobody is let run, what comes back beyond a second is lost. */
  let asked = 0
  let askedAt = 0
  const passed = (): void => {
    asked += Math.min(seconds() - askedAt, MOST_PAUSE_S)
    askedAt = seconds()
  }
  /** The share of what the limit lets through meanwhile that was let through. */
  const driveUntil = async (end: number): Promise<number> => {
    askedAt = seconds()
    const before = { accepted, asked }
    const drive = async (limits: Limits): Promise<void> => {
      while (seconds() < end) {
        if ((await limits.take(who, events(1))).ok) accepted++
        passed()
        await turn()
      }
    }
    // several at once: how long Redis takes to answer is not to be what limits them
    await Promise.all(both.flatMap((limits) => Array.from({ length: AT_ONCE }, () => drive(limits))))
    return (accepted - before.accepted) / ((asked - before.asked) * PER_SECOND)
  }
  await driveUntil(2)
  redis.freeze()
  const whileFrozen = await driveUntil(4)
  redis.thaw()
  await driveUntil(6)
  const killed = redis.kill()
  const whileGone = await driveUntil(8)
  await killed
  await redis.start()
  await driveUntil(seconds() + 2)
  expect(changes.filter((change) => change === 'together').length).toBeGreaterThanOrEqual(2)
  expect(accepted).toBeLessThanOrEqual(1.25 * seconds() * PER_SECOND)
  expect(accepted).toBeGreaterThanOrEqual(0.75 * asked * PER_SECOND)
  for (const share of [whileFrozen, whileGone]) expect(share).toBeGreaterThanOrEqual(0.5)
})
