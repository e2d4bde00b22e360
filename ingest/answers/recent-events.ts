import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { answerKey, coordinatesText, eventAnswerKey, waitsKey } from '../../schemas/redis-keys.ts'
import { DUPLICATE } from '../../schemas/stored-answer.ts'
import { type EndedEvent, readStoredAnswer } from './ended-event.ts'
import { createRedisValues } from './redis-values.ts'

/** How events ended, as long as Redis has it. Calls reject with `retry` while it cannot be asked. */
export interface RecentEvents {
  at(partition: number, offset: number): Promise<EndedEvent | null>
  /** The event with that id that was answered last, if it is before `offset` in the same lane and generation. */
  before(
    partition: number,
    offset: number,
    event: { readonly generation: string; readonly tenant: string; readonly eventId: string },
  ): Promise<EndedEvent | null>
  /** From now on this gateway is told when the event ends, for `ttlMs`. What is read after this call was made sees what ended before. */
  announce(partition: number, offset: number, ttlMs: number): Promise<void>
}

export interface RecentEventsOptions {
  readonly redis: Pick<RedisClient, 'getMany' | 'writeMany'>
  readonly pipeline: string
  readonly gatewayId: string
  readonly reader: AvroReader<Prediction>
}

export function createRecentEvents({ redis, pipeline, gatewayId, reader }: RecentEventsOptions): RecentEvents {
  const valueAt = createRedisValues(redis)

  async function at(partition: number, offset: number): Promise<EndedEvent | null> {
    const value = await valueAt(answerKey(pipeline, coordinatesText(partition, offset)))
    return await readStoredAnswer(pipeline, reader, partition, offset, value)
  }

  return {
    at,
    async before(partition, offset, { generation, tenant, eventId }) {
      const place = await valueAt(eventAnswerKey(pipeline, tenant, eventId))
      const [lane = Number.NaN, first = Number.NaN] = place?.toString().split('.').map(Number) ?? []
      if (lane !== partition || !(first < offset)) return null
      const found = await at(lane, first)
      const isIt = found?.generation === generation && found.tenant === tenant && found.eventId === eventId
      return found !== null && isIt && !isRepetition(found) ? found : null
    },
    async announce(partition, offset, ttlMs) {
      const key = waitsKey(pipeline, coordinatesText(partition, offset))
      await redis.writeMany([{ op: 'set', key, value: gatewayId, ttlMs }])
    },
  }
}

/** Its answer is that of an earlier event. */
export function isRepetition({ answer }: EndedEvent): boolean {
  return answer.state === 'rejected' && answer.reason === DUPLICATE
}
