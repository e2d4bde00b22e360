import { systemClock } from '../clock.ts'
import { fatal } from '../errors.ts'
import { createKafkaConnections } from './connections/kafka-connections.ts'
import type { KafkaClient } from './kafka-client.ts'

/**
 * Id (UUID) of each topic as it is now, by connections of its own. Rejects with `unknown_topic` (crash) or
 * `kafka_unavailable` (retry).
 */
export async function fetchTopicIds(
  { config, clientId, logger }: KafkaClient,
  topics: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const connections = createKafkaConnections({ config, clientId, logger, clock: systemClock })
  try {
    const found = await connections.topics(topics)
    return new Map(
      topics.map((name) => {
        const topic = found.get(name)
        if (topic === undefined) throw fatal('unknown_topic', `topic ${name} does not exist`)
        return [name, topic.id]
      }),
    )
  } finally {
    await connections.close()
  }
}
