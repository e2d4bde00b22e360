import { createHmac } from 'node:crypto'
import { type Backoff, backoffMs } from '../../../infra/runtime/backoff.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import { describeError } from '../../../infra/runtime/errors.ts'
import type { Alert } from '../../../schemas/generated/records.ts'

/*
 * What a receiver gets: POST, JSON
 *
 *   {"id","pipeline","rule","state","severity","message","evidence_sql","at"}
 *
 *   millrace-webhook-id          the id: the same each time that the same alert is sent. Take it once
 *   millrace-webhook-timestamp   epoch seconds of this attempt
 *   millrace-webhook-signature   v1=<hex of HMAC-SHA256(secret, timestamp + '.' + body)>
 *
 * Anything from 200 to 299 is an answer that it was taken. After 408, 425, 429, from 500 on, or without an answer it is sent again; any
 * other status means that the receiver will never take it.
 */

export interface WebhookTarget {
  readonly url: string
  readonly secret: string
}

/** An alert as the topic has it. */
export interface SentAlert {
  /** Names the record: topic id and offset. */
  readonly id: string
  readonly alert: Alert
  /** Since when it is to be sent, epoch ms: since it was appended, or since the end of the silence that this was in. */
  readonly dueAt: number
}

/** What became of it; `expired` = not taken for a day since it was due. */
export type WebhookOutcome = 'sent' | 'refused' | 'expired' | 'stopped'

export interface WebhookDeps {
  readonly target: WebhookTarget
  readonly clock: Clock
  readonly retry: Backoff
  /** Without an answer for so long, ms, an attempt has failed. Default 10 s. */
  readonly timeoutMs?: number
  readonly retrying: (attempt: { readonly code: string; readonly message: string; readonly attempt: number }) => void
}

const TIMEOUT_MS = 10_000
const EXPIRES_MS = 86_400_000
const AGAIN: ReadonlySet<number> = new Set([408, 425, 429])

/** Sends one alert, again and again until it is taken, refused or due for a day, or `stopping` aborts. */
export async function sendAlert(deps: WebhookDeps, sent: SentAlert, stopping: AbortSignal): Promise<WebhookOutcome> {
  const { clock, retry } = deps
  for (let attempt = 1; ; attempt++) {
    if (stopping.aborted) return 'stopped'
    if (clock.now() - sent.dueAt > EXPIRES_MS) return 'expired'
    const failure = await post(deps, sent, stopping)
    if (typeof failure === 'string') return failure
    if (stopping.aborted) return 'stopped'
    deps.retrying({ ...failure, attempt })
    await clock.sleep(backoffMs(retry, attempt - 1), stopping)
  }
}

async function post(
  { target, clock, timeoutMs = TIMEOUT_MS }: WebhookDeps,
  { id, alert }: SentAlert,
  stopping: AbortSignal,
): Promise<'sent' | 'refused' | { readonly code: string; readonly message: string }> {
  const body = JSON.stringify({ id, ...alert, at: new Date(alert.at).toISOString() })
  const timestamp = String(Math.floor(clock.now() / 1_000))
  try {
    const response = await fetch(target.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'millrace-webhook-id': id,
        'millrace-webhook-timestamp': timestamp,
        'millrace-webhook-signature': signatureOf(target.secret, timestamp, body),
      },
      body,
      // a receiver that has moved is configured anew: a signed alert does not follow wherever it is pointed
      redirect: 'manual',
      signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), stopping]),
    })
    await response.body?.cancel()
    if (response.ok) return 'sent'
    if (response.status < 500 && !AGAIN.has(response.status)) return 'refused'
    return { code: 'webhook_unavailable', message: `the receiver answered ${response.status}` }
  } catch (error) {
    return { code: 'webhook_unavailable', message: describeError(error).message }
  }
}

/** As in the header; `timestamp`: epoch seconds, as in its own header. */
export function signatureOf(secret: string, timestamp: string, body: string): string {
  return `v1=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`
}
