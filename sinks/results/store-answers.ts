import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { answerKeysPrefix } from '../../schemas/redis-keys.ts'

/*
 * One call for many answers (answer-entries.ts), and nothing else happens in Redis meanwhile. For each: the answer, the event's
 * coordinates by its id, and then the news to the gateway where a request waits. A gateway that writes `waits` before this finds the
 * answer by the news, one that does so after it by reading.
 */
const SCRIPT = `
local base, ttl, entries = KEYS[1], ARGV[1], ARGV[2]
local at, size, notified = 1, #entries, 0
while at <= size do
  local where, event, answer
  where, event, answer, at = struct.unpack('>I1c0I4c0I4c0', entries, at)
  redis.call('SET', base .. 'answer:' .. where, answer, 'PX', ttl)
  if event ~= '' then redis.call('SET', base .. 'event:' .. event, where, 'PX', ttl) end
  local gateway = redis.call('GET', base .. 'waits:' .. where)
  if gateway then
    redis.call('PUBLISH', base .. 'gateway:' .. gateway, where)
    notified = notified + 1
  end
end
return notified
`

/** Stores blocks of entries in their order, in one round trip. How many waiting requests were told. */
export async function storeAnswers(
  redis: Pick<RedisClient, 'evaluate'>,
  pipeline: string,
  blocks: readonly Buffer[],
  ttlMs: number,
): Promise<number> {
  const prefix = answerKeysPrefix(pipeline)
  const told = await Promise.all(blocks.map((entries) => redis.evaluate(SCRIPT, [prefix], [ttlMs, entries])))
  return told.reduce<number>((sum, notified) => sum + Number(notified), 0)
}
