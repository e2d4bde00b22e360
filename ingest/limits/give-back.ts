import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import type { AppliedLimit } from './applied-limits.ts'
import type { Cost } from './limits.ts'
import { MONTH_OF } from './redis-limits.ts'

/**
 * ARGV, three per key: kind (r or m), limit, what is given back. Keys are laid out as in redis-limits.ts. A bucket never holds more than
 * its limit, a month never less than nothing, and one that is over is left as it is. Answers 1: the client takes no nil.
 */
const SCRIPT = `
local day = math.floor(tonumber(redis.call('TIME')[1]) / 86400)

${MONTH_OF}
for i, key in ipairs(KEYS) do
  local kind, limit, back = ARGV[i * 3 - 2], tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3])
  local stored = redis.call('GET', key)
  local a, b
  if stored then a, b = string.match(stored, '^(.-)|(.+)$') end
  if b and kind == 'r' then
    redis.call('SET', key, string.format('%.6f|%s', math.min(limit, tonumber(a) + back), b), 'KEEPTTL')
  elseif b and tonumber(a) == month_of(day) then
    redis.call('SET', key, string.format('%s|%d', a, math.max(0, tonumber(b) - back)), 'KEEPTTL')
  end
end
return 1
`

/** Rejects as the client does. */
export async function giveBackToRedis(
  redis: Pick<RedisClient, 'evaluate'>,
  limits: readonly AppliedLimit[],
  cost: Cost,
): Promise<void> {
  const given = limits.filter(({ of }) => cost[of] > 0)
  const keys = given.map(({ key }) => key)
  const args = given.flatMap(({ kind, limit, of }) => [kind === 'rate' ? 'r' : 'm', limit, cost[of]])
  await redis.evaluate(SCRIPT, keys, args)
}
