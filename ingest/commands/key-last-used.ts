import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { lastUsedOf } from '../access/last-used.ts'
import type { ListedKey } from './key-list.ts'

/** Keys with the time, epoch ms, at which each was last used; null = not for a year, or never. Rejects as Redis does. */
export async function withLastUse(
  redis: Pick<RedisClient, 'getMany'>,
  keys: readonly ListedKey[],
): Promise<readonly (ListedKey & { readonly lastUsedAt: number | null })[]> {
  const times = await lastUsedOf(
    redis,
    keys.map(({ id }) => id),
  )
  return keys.map((key) => ({ ...key, lastUsedAt: times.get(key.id) ?? null }))
}
