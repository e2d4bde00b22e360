import type { DeadLetterReason } from './dead-letter-reasons.ts'

/**
 * How an event ended, as `millrace:{<pipeline>}:answer:…` in Redis holds it (redis-keys.ts):
 *
 *   predicted  the value of its record in `<pipeline>.predictions` as it is: Avro in the wire format, so it begins with a zero byte
 *   rejected   a `StoredRejection` as JSON, so it begins with a brace
 *
 * Either names the topic id of the events topic, so that an answer from before the topic was made again counts for nothing.
 */
export interface StoredRejection {
  /** Topic id of the events topic. */
  readonly generation: string
  /** Empty when the event names none. */
  readonly tenant: string
  /** Null when the event could not be read. */
  readonly event_id: string | null
  readonly reason: string
  readonly message: string
  /** Epoch ms. */
  readonly failed_at: number
}

export function isStoredPrediction(value: Buffer): boolean {
  return value[0] === 0
}

/** Of a dead letter that ends an event; those of sinks are `unstored`. */
export const ENDING_KINDS: ReadonlySet<string> = new Set(['rejected', 'filtered'])

/** The reason of an event that was left out because an earlier one, whose answer is its answer, has its id. */
export const DUPLICATE = 'duplicate_event_id' satisfies DeadLetterReason
