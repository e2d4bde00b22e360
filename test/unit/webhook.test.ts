import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { Alert } from '../../schemas/generated/records.ts'
import { sendAlert, type WebhookDeps } from '../../sinks/drift/alerts/webhook.ts'
import { manualClock } from '../support/manual-clock.ts'
import { type ReceivedWebhook, webhookReceiver } from '../support/webhook-receiver.ts'

// Alerts on their way to a real HTTP server.

const ALERT: Alert = {
  pipeline: 'flights',
  rule: 'drift',
  state: 'firing',
  severity: 'warning',
  message: 'temp: psi 0.31',
  evidence_sql: "SELECT 'temp'",
  at: Date.UTC(2013, 3, 1),
}
const sent = { id: 'generation-7', alert: ALERT, dueAt: 1_000_000 }
const RUNNING = new AbortController().signal

function deps(url: string, change: Partial<WebhookDeps> = {}): WebhookDeps & { readonly retries: string[] } {
  const retries: string[] = []
  return {
    target: { url, secret: 'a secret' },
    clock: manualClock(1_000_000),
    retry: { baseMs: 1_000, maxMs: 60_000 },
    retrying: ({ message }) => retries.push(message),
    retries,
    ...change,
  }
}

test('the receiver can tell that it is ours, unchanged, and when it was sent', async () => {
  const { url, received } = await webhookReceiver()
  expect(await sendAlert(deps(url), sent, RUNNING)).toBe('sent')
  const { headers, body } = received[0] as ReceivedWebhook
  expect(JSON.parse(body)).toEqual({ ...ALERT, id: 'generation-7', at: '2013-04-01T00:00:00.000Z' })
  const expected = createHmac('sha256', 'a secret')
    .update(`${headers['millrace-webhook-timestamp']}.${body}`)
    .digest('hex')
  expect(headers).toMatchObject({
    'content-type': 'application/json',
    'millrace-webhook-id': 'generation-7',
    'millrace-webhook-timestamp': '1000',
    'millrace-webhook-signature': `v1=${expected}`,
  })
})

test('what is not taken is sent again, with the same id and a signature of its own', async () => {
  const { url, received } = await webhookReceiver([503, 429, 500])
  const own = deps(url)
  expect(await sendAlert(own, sent, RUNNING)).toBe('sent')
  expect(received.map(({ status }) => status)).toEqual([503, 429, 500, 204])
  expect(new Set(received.map(({ body }) => body)).size).toBe(1)
  expect(new Set(received.map(({ headers }) => headers['millrace-webhook-id']))).toEqual(new Set(['generation-7']))
  expect(new Set(received.map(({ headers }) => headers['millrace-webhook-signature'])).size).toBeGreaterThan(1)
  expect(own.retries).toHaveLength(3)
})

test('an attempt without an answer ends, and a receiver that has moved or refuses is not asked again', async () => {
  const slow = await webhookReceiver(['hang'])
  expect(await sendAlert(deps(slow.url, { timeoutMs: 2_000 }), sent, RUNNING)).toBe('sent')
  expect(slow.received).toHaveLength(2)
  for (const status of [301, 400, 404]) {
    const receiver = await webhookReceiver([status])
    expect(await sendAlert(deps(receiver.url), sent, RUNNING)).toBe('refused')
    expect(receiver.received).toHaveLength(1)
  }
})

test('after a day it is no news, and a stop leaves it to the next process', async () => {
  const { url, received } = await webhookReceiver(Array.from({ length: 100_000 }, () => 503))
  expect(await sendAlert(deps(url, { retry: { baseMs: 3_600_000, maxMs: 36_000_000 } }), sent, RUNNING)).toBe('expired')
  expect(received.length).toBeGreaterThan(2)
  const stopping = new AbortController()
  const stopped = deps(url, { clock: systemClock, retrying: () => stopping.abort() })
  expect(await sendAlert(stopped, { ...sent, dueAt: Date.now() }, stopping.signal)).toBe('stopped')
})
