import { uniqueName } from './unique-name.ts'

/** A flight as a client sends it. Without an id it takes that of the request's idempotency key. */
export function flightEvent(id?: string): Readonly<Record<string, unknown>> {
  return {
    ...(id === undefined ? {} : { event_id: id }),
    ...{ carrier: 'UA', flight: 1545, tailnum: 'N14228', origin: 'EWR', dest: 'IAH' },
    ...{ scheduled_at: 1_357_034_100_000, departed_at: 1_357_034_220_000, dep_delay: 2, distance: 1_400 },
    ...{ plane_year: 1999, plane_seats: 149 },
  }
}

export interface SentEvent {
  readonly id: string
  /** Null: no answer came. */
  readonly status: number | null
  readonly retryAfter: string | null
  /** `performance.now()` before it was sent. */
  readonly sentAt: number
}

/** Sends single events with ids of their own, one after the other in each of `senders`, until `signal` aborts. */
export async function sendEvents(
  options: {
    readonly url: () => string
    readonly pipeline: string
    readonly key: string
    readonly senders: number
    readonly onAnswer?: (sent: SentEvent) => void
  },
  signal: AbortSignal,
): Promise<readonly SentEvent[]> {
  const { url, pipeline, key, senders, onAnswer } = options
  const sent: SentEvent[] = []
  async function send(): Promise<void> {
    while (!signal.aborted) {
      const id = uniqueName('event')
      const sentAt = performance.now()
      let outcome: SentEvent = { id, status: null, retryAfter: null, sentAt }
      try {
        const response = await fetch(`${url()}/v1/pipelines/${pipeline}/events`, {
          method: 'POST',
          headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
          body: JSON.stringify(flightEvent(id)),
        })
        await response.arrayBuffer()
        outcome = { id, status: response.status, retryAfter: response.headers.get('retry-after'), sentAt }
      } catch {
        // the request failed: that is the outcome
      }
      sent.push(outcome)
      onAnswer?.(outcome)
    }
  }
  await Promise.all(Array.from({ length: senders }, send))
  return sent
}
