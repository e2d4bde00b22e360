import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import type { AppliedLimit } from './applied-limits.ts'
import type { Cost } from './limits.ts'
import type { Reading } from './tally.ts'

/** Lua: the month (since the year 0) of a day since 1970, see month.ts. */
export const MONTH_OF = `
-- days since 1970 to a month: http://howardhinnant.github.io/date_algorithms.html
local function month_of(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  if mp < 10 then return (yoe + era * 400) * 12 + mp + 2 end
  return (yoe + era * 400 + 1) * 12 + mp - 10
end
`

/**
 * Takes a cost from all limits or from none; the time is that of Redis, so that gateways whose clocks differ agree.
 *
 *   rate   "<tokens>|<epoch ms>", gone when the bucket is full again (no key = a full bucket): in 31 days, whatever was taken
 *   month  "<month>|<events>", gone 40 days after the last event
 *
 * ARGV, four per key: kind (r or m), limit, cost, owed: what this process let through while Redis was away, taken first and
 * whatever comes of the cost. Answers: epoch ms, then per key what is left (in thousandths) and how long to wait (ms, 0 = it let it through).
 */
const SCRIPT = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local day = math.floor(tonumber(time[1]) / 86400)

${MONTH_OF}
local month = month_of(day)
local function days_left()
  local days = 1
  while month_of(day + days) == month do days = days + 1 end
  return days
end

-- what is beyond is no number that Redis takes, or nothing that anybody can pay
local MOST = 9007199254740
local function at_least(tokens, limit) return math.max(tokens, -math.min(limit * 2678400, MOST)) end

local value, wait, ok = {}, {}, true
for i, key in ipairs(KEYS) do
  local kind, limit = ARGV[i * 4 - 3], tonumber(ARGV[i * 4 - 2])
  local cost, owed = tonumber(ARGV[i * 4 - 1]), tonumber(ARGV[i * 4])
  local stored = redis.call('GET', key)
  local a, b
  if stored then a, b = string.match(stored, '^(.-)|(.+)$') end
  wait[i] = 0
  if kind == 'r' then
    local tokens = limit
    if stored then tokens = math.min(limit, tonumber(a) + math.max(0, now - tonumber(b)) * limit / 1000) end
    value[i] = at_least(tokens - owed, limit)
    local missing = math.min(cost, limit) - value[i]
    if cost > 0 and limit <= 0 then
      wait[i] = 31622400000
    elseif cost > 0 and missing > 0.000001 then
      wait[i] = math.ceil(missing * 1000 / limit)
    end
  else
    local count = 0
    if stored and tonumber(a) == month then count = tonumber(b) end
    value[i] = math.min(count + owed, MOST)
    if cost > 0 and value[i] + cost > limit then
      wait[i] = (day + days_left()) * 86400000 - now
    end
  end
  if wait[i] > 0 then ok = false end
end

local answer = { now }
for i, key in ipairs(KEYS) do
  local kind, limit = ARGV[i * 4 - 3], tonumber(ARGV[i * 4 - 2])
  local cost, owed = tonumber(ARGV[i * 4 - 1]), tonumber(ARGV[i * 4])
  if not ok then cost = 0 end
  local changed = cost > 0 or owed > 0
  if kind == 'r' then
    value[i] = at_least(value[i] - cost, limit)
    if changed and limit > 0 then
      local full = math.ceil((limit - value[i]) * 1000 / limit)
      redis.call('SET', key, string.format('%.6f|%d', value[i], now), 'PX', math.max(1, full) + 1000)
    end
    answer[i * 2] = math.floor(value[i] * 1000)
  else
    value[i] = value[i] + cost
    if changed then redis.call('SET', key, string.format('%d|%d', month, value[i]), 'PX', 3456000000) end
    answer[i * 2] = (limit - value[i]) * 1000
  end
  answer[i * 2 + 1] = wait[i]
end
return answer
`

/** `owed` by index of `limits`. Rejects as the client does. */
export async function takeFromRedis(
  redis: RedisClient,
  limits: readonly AppliedLimit[],
  cost: Cost,
  owed: readonly number[],
): Promise<{ readonly nowMs: number; readonly readings: readonly Reading[] }> {
  const keys = limits.map(({ key }) => key)
  const args = limits.flatMap(({ kind, limit, of }, index) => [
    kind === 'rate' ? 'r' : 'm',
    limit,
    cost[of],
    owed[index] ?? 0,
  ])
  const [nowMs = 0, ...numbers] = (await redis.evaluate(SCRIPT, keys, args)) as readonly number[]
  const readings = limits.map((_, index) => ({
    left: (numbers[index * 2] ?? 0) / 1_000,
    waitMs: numbers[index * 2 + 1] ?? 0,
  }))
  return { nowMs, readings }
}
