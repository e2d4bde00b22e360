import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'

/** Reads what was asked for in the same turn of the event loop in one round trip. Rejects like the client. */
export function createRedisValues(redis: Pick<RedisClient, 'getMany'>): (key: string) => Promise<Buffer | null> {
  let asked: { readonly key: string; readonly answer: PromiseWithResolvers<Buffer | null> }[] = []

  async function readAll(): Promise<void> {
    const round = asked
    asked = []
    try {
      const [values = []] = await redis.getMany([round.map(({ key }) => key)])
      for (const [index, { answer }] of round.entries()) answer.resolve(values[index] ?? null)
    } catch (error) {
      for (const { answer } of round) answer.reject(error)
    }
  }

  return (key) => {
    const answer = Promise.withResolvers<Buffer | null>()
    if (asked.push({ key, answer }) === 1) setImmediate(() => void readAll())
    return answer.promise
  }
}
