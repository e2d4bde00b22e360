import type { KafkaRequest } from '../protocol/request.ts'

/**
 * A broker answers the requests of one connection in turn, so what may wait on purpose must not stand in front of what
 * may not. One connection per broker and channel:
 *
 *   group …   JoinGroup and SyncGroup of one group: two processes that are in two groups, each waiting for the other one
 *             in the group that it joins first, would wait for ever
 *   fetch …   Fetch with a long poll, of one topic
 *   produce   Produce
 *   control   everything else, and Fetch without a wait
 */
export type Channel = 'group' | `group ${string}` | 'fetch' | `fetch ${string}` | 'produce' | 'control'

export interface PartitionMetadata {
  readonly partition: number
  /** Node id of the leader; -1 = none at the moment. */
  readonly leader: number
  readonly leaderEpoch: number
  readonly replicas: readonly number[]
  readonly inSync: readonly number[]
}

export interface TopicMetadata {
  readonly name: string
  /** UUID of this making of the topic: one deleted and made again has another. */
  readonly id: string
  /** By number, from 0. */
  readonly partitions: readonly PartitionMetadata[]
}

/**
 * The one way to the brokers. Connects when a request needs it, once for callers that ask at the same time; a connection that
 * failed is thrown away, never used again. Calls may overlap; those of one broker and channel arrive in their order.
 */
export interface KafkaConnections {
  /**
   * Rejects with `kafka_unavailable` (retry) when the broker cannot be reached, the connection breaks or the answer takes
   * too long: whether the broker acted on it is then unknown. `kafka_refused` (crash) when it does not let us in.
   */
  send<T>(node: number, channel: Channel, request: KafkaRequest<T>): Promise<T>
  /** To any broker that answers. */
  sendToAny<T>(request: KafkaRequest<T>): Promise<T>
  /**
   * Metadata as the brokers have it now, also kept for `leaderOf`. A topic that does not exist is absent. Callers that ask
   * for the same topics at the same time share one request.
   */
  topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicMetadata>>
  /** From the last metadata; null when the topic was never asked for or the partition has no leader. */
  leaderOf(topic: string, partition: number): number | null
  /** The node that coordinates a group or a transactional id; kept until `forgetCoordinator`. */
  coordinator(kind: 'group' | 'transaction', key: string): Promise<number>
  forgetCoordinator(kind: 'group' | 'transaction', key: string): void
  /** Ends every connection; requests without an answer are rejected, later ones with `kafka_closed` (retry). */
  close(): Promise<void>
}
