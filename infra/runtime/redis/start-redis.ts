import type { StageContext } from '../stage-process.ts'
import { connectRedis, type RedisClient } from './redis-client.ts'

/** A stage's connection of its own, whose calls answer or fail within the time; closed when the stage stops. */
export async function startRedis(
  { connections, logger, start }: Pick<StageContext, 'connections' | 'logger' | 'start'>,
  name: string,
  withinMs: number,
): Promise<RedisClient> {
  const { redisUrl: url, redisCa } = connections
  const tls = redisCa === undefined ? undefined : { ca: redisCa }
  return await start(name, async () => {
    const client = connectRedis({ url, tls, commandTimeoutMs: withinMs, logger })
    return { value: client, stop: () => client.close() }
  })
}
