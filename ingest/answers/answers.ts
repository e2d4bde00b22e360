import type { RequestId } from '../../schemas/request-id.ts'

/** A prediction as the gateway tells it. */
export interface PredictionView {
  readonly request_id: string
  readonly event_id: string
  readonly event_time: string
  readonly model: string
  readonly model_version: string
  readonly model_digest: string
  readonly role: 'primary' | 'canary'
  readonly score: number | null
  readonly outputs: readonly (number | null)[]
  readonly label: string | null
  readonly degraded: boolean
  readonly answer: 'scored' | 'late' | 'fallback'
  readonly provider: 'cpu' | 'cuda'
  readonly scored_at: string
}

/** How an event ended. `expired`: its day is further back than answers are kept; `unknown`: no such event, or another tenant's. */
export type Answer =
  | { readonly state: 'pending' | 'expired' | 'unknown' }
  | { readonly state: 'predicted'; readonly prediction: PredictionView }
  | { readonly state: 'rejected'; readonly reason: string; readonly message: string }

/**
 * Answers to events by their request ids: Redis first, ClickHouse after. An event that was left out as the repetition of an
 * earlier one (`duplicate_event_id`) has that one's answer.
 */
export interface Answers {
  /** Rejects with `retry` when neither store can be asked. */
  find(id: RequestId, tenant: string): Promise<Answer>
  /**
   * Like `find`, but waits until the event has ended, or until `signal` aborts: then `pending`. For an event that this process
   * has just brought in, whose tenant it knows. Without Redis it is `pending` at once.
   */
  wait(id: RequestId, tenant: string, signal: AbortSignal): Promise<Answer>
}
