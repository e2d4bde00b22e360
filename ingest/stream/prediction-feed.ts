import type { PredictionView } from '../answers/answers.ts'

/** The offset behind the last one that was looked at, by partition: what `Last-Event-ID` holds. */
export type FeedPosition = ReadonlyMap<number, number>

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

/**
 * `<p>.predictions` as it grows, read once per process and without a group, for any number of subscribers. Predictions of a
 * partition come in their order; one behind the position is never left out.
 */
export interface PredictionFeed {
  /**
   * Predictions that pass the filter from `from` (null = from now on). Ends when `signal` aborts. Throws `subscriber_too_slow`
   * (reject) when more than its bound waits for a subscriber, after what it had before has been taken, and `position_lost`
   * (reject) when the log does not reach back to `from`.
   */
  subscribe(filter: FeedFilter, from: FeedPosition | null, signal: AbortSignal): AsyncIterable<FedPrediction>
  /** Now, by partition. */
  position(): FeedPosition
}
