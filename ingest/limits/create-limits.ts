import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import type { Principal } from '../access/access.ts'
import { appliedLimits } from './applied-limits.ts'
import { giveBackToRedis } from './give-back.ts'
import type { Limits, Verdict } from './limits.ts'
import { createLocalLimits } from './local-limits.ts'
import { takeFromRedis } from './redis-limits.ts'
import { isCounted, verdictOf } from './tally.ts'

export interface LimitsObserver {
  /** Redis did not answer: from now on this process counts alone, with its share. */
  countsAlone(reason: { readonly code: string; readonly message: string }): void
  /** Redis answers again. */
  countsTogether(alone: { readonly ms: number; readonly takes: number }): void
}

export interface LimitsOptions {
  /** A connection of its own, made with a command timeout of 20 ms: what a request waits at most. */
  readonly redis: RedisClient
  /** Gateways that share the limits; of each limit a process has so great a part while Redis is away. */
  readonly replicas: number
  readonly clock: Clock
  readonly observer: LimitsObserver
}

interface Outage {
  readonly since: number
  takes: number
  probeAt: number
  probing: boolean
}

const PROBE_INTERVAL_MS = 250
const PROBE_KEY = 'millrace:limits:probe'
const FREE: Verdict = { ok: true, standings: [], retryAfterSeconds: 0 }

/**
 * A request pays for a Redis that does not answer only until the first of them has noticed; from then on requests are
 * counted here at once, and a probe every 250 ms (sent when a request comes by) finds out whether Redis is back.
 * What was let through alone is then taken from Redis, so that the change gives nobody a second bucket.
 */
export function createLimits(options: LimitsOptions): Limits {
  const { redis, replicas, clock, observer } = options
  const local = createLocalLimits({ replicas, clock })
  let alone: Outage | null = null
  let backAt = Number.NEGATIVE_INFINITY
  const running = new Map<string, number>()

  async function probe(outage: Outage): Promise<void> {
    if (outage.probing || clock.monotonic() < outage.probeAt) return
    outage.probing = true
    try {
      // one that can only be read from is no use
      await redis.writeMany([{ op: 'set', key: PROBE_KEY, value: '1', ttlMs: PROBE_INTERVAL_MS }])
    } catch {
      // it was said when it went away
      outage.probing = false
      outage.probeAt = clock.monotonic() + PROBE_INTERVAL_MS
      return
    }
    alone = null
    backAt = clock.monotonic()
    observer.countsTogether({ ms: backAt - outage.since, takes: outage.takes })
  }

  function goAlone(error: unknown): Outage {
    const since = clock.monotonic()
    // a Redis that was only late is asked again at once; one that takes what the probe writes and nothing else, not so often
    const probeAt = since - backAt > PROBE_INTERVAL_MS ? since : since + PROBE_INTERVAL_MS
    observer.countsAlone(describeError(error))
    return { since, takes: 0, probeAt, probing: false }
  }

  return {
    async take(principal, cost) {
      const limits = appliedLimits(principal)
      if (!isCounted(limits, cost)) return FREE
      if (alone === null) {
        const owed = local.owed(limits)
        try {
          const { nowMs, readings } = await takeFromRedis(redis, limits, cost, owed)
          local.learn(limits, readings)
          return verdictOf(limits, readings, 1, nowMs)
        } catch (error) {
          local.stillOwed(limits, owed)
          alone ??= goAlone(error)
        }
      }
      if (alone !== null) {
        alone.takes++
        void probe(alone)
      }
      return verdictOf(limits, local.take(limits, cost), 1 / replicas, clock.now())
    },
    async giveBack(principal, cost) {
      const limits = appliedLimits(principal)
      if (!isCounted(limits, cost)) return
      if (alone === null) {
        try {
          await giveBackToRedis(redis, limits, cost)
          return
        } catch (error) {
          alone ??= goAlone(error)
        }
      }
      local.giveBack(limits, cost)
    },
    enter(principal) {
      const places = placesOf(principal, replicas)
      if (places.some(({ key, most }) => (running.get(key) ?? 0) >= most)) return null
      for (const { key } of places) running.set(key, (running.get(key) ?? 0) + 1)
      let left = false
      return () => {
        if (left) return
        left = true
        for (const { key } of places) {
          const others = (running.get(key) ?? 1) - 1
          if (others === 0) running.delete(key)
          else running.set(key, others)
        }
      }
    },
  }
}

/** Requests that run are counted by each process alone: it has its part of the limit, rounded down, one at least. */
function placesOf(
  { tenant, credential, limits, tenantLimits }: Principal,
  replicas: number,
): readonly { readonly key: string; readonly most: number }[] {
  const places: { readonly key: string; readonly most: number }[] = []
  const add = (key: string, limit: number | null): void => {
    if (limit !== null) places.push({ key, most: limit === 0 ? 0 : Math.max(1, Math.floor(limit / replicas)) })
  }
  add(`${tenant} ${credential}`, limits.concurrentRequests)
  add(tenant, tenantLimits.concurrentRequests)
  return places
}
