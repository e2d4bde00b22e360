import type { ItemProblem, ReadItem } from '../mapping/event-reader.ts'

export interface Submitter {
  readonly tenant: string
  /** W3C trace context, goes with the event to its prediction. */
  readonly traceparent: string | null
  /** Of the request; what was finished with it is answered again without being published again. */
  readonly idempotencyKey: string | null
}

export type Accepted =
  | {
      readonly ok: true
      /** Null on a topic without LogAppendTime, and for labels. */
      readonly requestId: string | null
      readonly id: string
      /** It was in Kafka before: an earlier request had the same idempotency key. */
      readonly repeated: boolean
    }
  | { readonly ok: false; readonly problem: ItemProblem }

/** Brings events (or labels) into Kafka. */
export interface Intake {
  /**
   * One result per item, by index; resolves when every item is acknowledged by all in-sync replicas or refused. Rejects with
   * `kafka_unavailable` (retry) when some of them could not be acknowledged within the time for it: whoever tries again with
   * the same ids loses nothing and, with the pipeline's `dedupe`, doubles nothing. `idempotency_key_reused` (reject): the
   * same key came with another body.
   *
   * Awaits `before` before it publishes anything, and does not call it for what was finished already; rejects with what that rejects with.
   */
  submit(items: readonly ReadItem[], by: Submitter, before?: () => Promise<void>): Promise<readonly Accepted[]>
  /** Bytes that wait for an acknowledgement, and how long the oldest has, ms. */
  backlog(): { readonly bytes: number; readonly oldestMs: number }
}
