import { fatal, retryable } from '../../errors.ts'
import { brokerRefusal } from '../connections/broker-refusals.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import { offsetFetchRequest } from '../protocol/offset-fetch.ts'
import type { Committed } from './lane-source.ts'

/** The topic that a group reads, as it was when its reading began. */
export interface ReadTopic {
  /** Its id (UUID). */
  readonly generation: string
  /**
   * Its partitions now. Rejects with `topic_recreated` (crash) when it is another topic of that name, `kafka_unavailable` (retry) while it is
   * not there.
   */
  refresh(): Promise<readonly number[]>
  /** What the group has committed, also for other partitions of the topic; absent = nothing. */
  committed(partitions: readonly number[]): Promise<ReadonlyMap<number, Committed>>
}

/** Rejects with `unknown_topic` (crash) when there is no such topic. */
export async function readTopic(
  connections: KafkaConnections,
  group: string,
  topic: string,
  onGrown: () => void,
): Promise<ReadTopic> {
  const first = (await connections.topics([topic])).get(topic)
  if (first === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
  const generation = first.id
  let partitionCount = first.partitions.length

  return {
    generation,

    async refresh() {
      const found = (await connections.topics([topic])).get(topic)
      if (found === undefined) throw retryable('kafka_unavailable', `topic ${topic} is not there`)
      if (found.id !== generation) {
        throw fatal(
          'topic_recreated',
          `${topic} was deleted and made again: its id was ${generation} and is ${found.id}`,
        )
      }
      const hasGrown = found.partitions.length !== partitionCount
      partitionCount = found.partitions.length
      if (hasGrown) onGrown()
      return found.partitions.map(({ partition }) => partition)
    },

    async committed(partitions) {
      const what = `the positions of group ${group}`
      const found = new Map<number, Committed>()
      try {
        const coordinator = await connections.coordinator('group', group)
        const all = new Set([...partitions, ...Array.from({ length: partitionCount }, (_, partition) => partition)])
        const request = offsetFetchRequest(group, topic, [...all])
        const { error, positions } = await connections.send(coordinator, 'control', request)
        if (error !== null) throw brokerRefusal(error, what)
        for (const { error: own, partition, offset, metadata } of positions) {
          if (own !== null) throw brokerRefusal(own, what)
          if (offset !== null) found.set(partition, { offset, metadata })
        }
        return found
      } catch (error) {
        connections.forgetCoordinator('group', group)
        throw error
      }
    },
  }
}
