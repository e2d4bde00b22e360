import type { PredictionView } from '../answers/answers.ts'

/** The offset behind the last one that was looked at, by partition: what `Last-Event-ID` holds. */
export type FeedPosition = ReadonlyMap<number, number>

/** A position in one making of the topic. */
export interface FeedPlace {
  /** The topic's id (UUID). */
  readonly generation: string
  readonly position: FeedPosition
}

export interface FeedFilter {
  readonly tenant: string
  /** Entity keys; null = all. */
  readonly keys: ReadonlySet<string> | null
  /** Request ids; null = all. */
  readonly requestIds: ReadonlySet<string> | null
}

export interface FedPrediction {
  readonly prediction: PredictionView
  /** Where to resume behind it. */
  readonly position: FeedPosition
}

/** To be iterated once. */
export interface FeedSubscription extends AsyncIterable<FedPrediction> {
  /** Id of the topic that positions belong to. */
  readonly generation: string
  /** Where to resume behind what was taken: also moves over what the filter leaves out. */
  position(): FeedPosition
}

/**
 * `<p>.predictions` as it grows, read once per process and without a group, for any number of subscribers. Predictions of a
 * partition come in their order; one behind the position is never left out, and none comes twice.
 */
export interface PredictionFeed {
  /**
   * Predictions that pass the filter from `from` (null = from now on), once it is known where that is. Partitions that `from`
   * does not have are read from their beginning: they were added later. Rejects with `position_lost` (reject) when the log does
   * not reach from there to here, `topic_recreated` (reject) when it is another topic's, `too_many_subscribers`,
   * `kafka_unavailable`, and `partition_unknown` when the brokers that were asked know nothing of one that `from` has (retry).
   *
   * Ends when `signal` aborts. Throws `subscriber_too_slow` (reject) when more than its bound waits for a subscriber, after what
   * it had before has been taken, or at once when too much waits for all of them together; `position_lost` and `topic_recreated`
   * (reject) when that happens meanwhile, and what ended the reading of the log.
   */
  subscribe(filter: FeedFilter, from: FeedPlace | null, signal: AbortSignal): Promise<FeedSubscription>
}
