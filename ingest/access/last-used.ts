import type { Clock } from '../../infra/runtime/clock.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'

/*
 * When each API key was last used, for people who want to know which can go; nothing is decided on it.
 *
 *   millrace:{access}:used:<key id>   epoch ms, decimal; gone a year after the last use
 */
const PREFIX = 'millrace:{access}:used:'
const KEPT_MS = 366 * 86_400_000
const EVERY_MS = 60_000

export interface LastUsed {
  /** Notes that the key was used just now; delays nobody and never throws. */
  used(keyId: string): void
  /** Notes that could not be written. */
  readonly skipped: number
}

/** Writes at most once a minute per key and process. `onSkipped` is told why a note was lost. */
export function createLastUsed(options: {
  readonly redis: Pick<RedisClient, 'writeMany'>
  readonly clock: Clock
  readonly onSkipped?: (error: unknown) => void
}): LastUsed {
  const { redis, clock, onSkipped } = options
  /** Monotonic ms of the last note, by key: as many as there are keys. */
  const noted = new Map<string, number>()
  let skipped = 0
  return {
    get skipped() {
      return skipped
    },
    used(keyId) {
      const now = clock.monotonic()
      const last = noted.get(keyId)
      if (last !== undefined && now - last < EVERY_MS) return
      noted.set(keyId, now)
      const write = { op: 'set', key: PREFIX + keyId, value: String(clock.now()), ttlMs: KEPT_MS } as const
      redis.writeMany([write]).catch((error: unknown) => {
        skipped += 1
        onSkipped?.(error)
      })
    },
  }
}

/** Epoch ms by key id; without those that were never used, or not for a year. Rejects as Redis does. */
export async function lastUsedOf(
  redis: Pick<RedisClient, 'getMany'>,
  keyIds: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const times = new Map<string, number>()
  const [values = []] = await redis.getMany([keyIds.map((id) => PREFIX + id)])
  for (const [nth, id] of keyIds.entries()) {
    const at = Number(values[nth]?.toString('latin1') ?? Number.NaN)
    if (Number.isFinite(at)) times.set(id, at)
  }
  return times
}
