import { createHash } from 'node:crypto'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { finishedRequestKey } from '../../schemas/redis-keys.ts'
import type { ReadItem } from '../mapping/event-reader.ts'

/** What was answered to requests with an idempotency key. It only saves work: without it the same request is published again. */
export interface FinishedRequests {
  /** By index: request ids, null where there is none. `other` = the key came with another body; null = not known. Never rejects. */
  find(tenant: string, key: string, body: string): Promise<readonly (string | null)[] | 'other' | null>
  /** Never rejects. */
  remember(tenant: string, key: string, body: string, requestIds: readonly (string | null)[]): Promise<void>
}

export interface FinishedRequestsOptions {
  /** Of its own: its command timeout is what a request waits at most. */
  readonly redis: Pick<RedisClient, 'getMany' | 'writeMany'>
  readonly pipeline: string
  readonly what: 'events' | 'labels'
  readonly clock: Clock
  /** Must not throw. */
  readonly onUnavailable: (error: unknown) => void
}

const KEPT_MS = 86_400_000
/** So long after a failure requests do not wait for Redis at all. */
const REST_MS = 1_000
const WIRE_HEADER_BYTES = 5

interface Remembered {
  readonly body: string
  readonly requestIds: readonly (string | null)[]
}

export function createFinishedRequests(options: FinishedRequestsOptions): FinishedRequests {
  const { redis, pipeline, what, clock, onUnavailable } = options
  let restsUntil = Number.NEGATIVE_INFINITY

  const redisKey = (tenant: string, key: string): string =>
    finishedRequestKey(pipeline, what, tenant, createHash('sha256').update(key).digest('hex'))

  async function unlessAway<T>(work: () => Promise<T>): Promise<T | null> {
    if (clock.monotonic() < restsUntil) return null
    try {
      return await work()
    } catch (error) {
      restsUntil = clock.monotonic() + REST_MS
      onUnavailable(error)
      return null
    }
  }

  return {
    find: (tenant, key, body) =>
      unlessAway(async () => {
        const [[value] = []] = await redis.getMany([[redisKey(tenant, key)]])
        if (value === null || value === undefined) return null
        const remembered = JSON.parse(value.toString()) as Remembered
        return remembered.body === body ? remembered.requestIds : 'other'
      }),
    async remember(tenant, key, body, requestIds) {
      const value = JSON.stringify({ body, requestIds } satisfies Remembered)
      await unlessAway(() => redis.writeMany([{ op: 'set', key: redisKey(tenant, key), value, ttlMs: KEPT_MS }]))
    },
  }
}

/** Tells two bodies apart by what they say, not by how they spell it; the schema's id is no part of that. */
export function bodyDigest(items: readonly ReadItem[]): string {
  const hash = createHash('sha256')
  for (const item of items) {
    if (item.ok) {
      const value = item.value.subarray(WIRE_HEADER_BYTES)
      hash.update(JSON.stringify([item.id, item.key, value.length])).update(value)
    } else hash.update(JSON.stringify([item.problem.code, item.problem.pointer]))
  }
  return hash.digest('base64url')
}
