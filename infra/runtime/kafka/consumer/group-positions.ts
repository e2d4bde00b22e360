import { fatal, retryable } from '../../errors.ts'
import { brokerRefusal } from '../connections/broker-refusals.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import type { LogRange, LogReader } from '../log-reader.ts'
import { offsetCommitRequest } from '../protocol/offset-commit.ts'
import { offsetFetchRequest } from '../protocol/offset-fetch.ts'
import { type Committed, SET_BY_HAND } from './lane-source.ts'

export interface GroupPosition {
  readonly partition: number
  /** Null = the group has committed none. */
  readonly committed: Committed | null
  readonly log: LogRange
}

/** Positions of a group that nobody has to be a member of. Everything rejects with `retry` while brokers are away. */
export interface GroupPositions {
  /** Of all partitions of the topic, by number; rejects with `unknown_topic` (crash). */
  show(): Promise<readonly GroupPosition[]>
  /**
   * Commits a position that is `SET_BY_HAND`. Rejects with `group_active` (crash) while the group has members, which would go on where
   * they are, and `invalid_position` (crash) for an offset that the log does not have.
   */
  set(partition: number, offset: number): Promise<void>
}

/** In a commit: not a member. Brokers take it when the group has none. */
const NO_MEMBER = { generation: -1, member: '', instance: null }

export function groupPositions(
  { connections, reader }: { readonly connections: KafkaConnections; readonly reader: LogReader },
  group: string,
  topic: string,
): GroupPositions {
  const what = `the positions of group ${group}`

  async function send<T>(request: Parameters<typeof connections.send<T>>[2]): Promise<T> {
    try {
      return await connections.send(await connections.coordinator('group', group), 'control', request)
    } catch (error) {
      connections.forgetCoordinator('group', group)
      throw error
    }
  }

  return {
    async show() {
      const found = (await connections.topics([topic])).get(topic)
      if (found === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
      const partitions = found.partitions.map(({ partition }) => partition)
      const { error, positions } = await send(offsetFetchRequest(group, topic, partitions))
      if (error !== null) throw brokerRefusal(error, what)
      return await Promise.all(
        positions
          .toSorted((a, b) => a.partition - b.partition)
          .map(async ({ error: own, partition, offset, metadata }) => {
            if (own !== null) throw brokerRefusal(own, what)
            const log = await reader.range(topic, partition)
            return { partition, committed: offset === null ? null : { offset, metadata }, log }
          }),
      )
    },

    async set(partition, offset) {
      const { start, end } = await reader.range(topic, partition)
      if (offset < start || offset > end) {
        throw fatal('invalid_position', `${topic}/${partition} has offsets ${start} to ${end}, not ${offset}`)
      }
      const position = { partition, offset, metadata: SET_BY_HAND }
      const answers = await send(offsetCommitRequest({ ...NO_MEMBER, group }, topic, [position]))
      const error = answers.get(partition)
      if (error === undefined) throw retryable('malformed_response', `${what}: the answer leaves out the partition`)
      if (error === 'UNKNOWN_MEMBER_ID') {
        throw fatal(
          'group_active',
          `group ${group} has members, which would go on where they are: stop the stage first`,
        )
      }
      if (error !== null) throw brokerRefusal(error, what)
    },
  }
}
