import type { PredictionView } from '../answers/answers.ts'
import { type ExchangeOptions, exchange, jittered, pause, type RetryOptions, retryAfterMs } from './exchange.ts'
import { GatewayError } from './gateway-error.ts'
import { readServerSentEvents } from './server-sent-events.ts'

export interface GatewayClientOptions {
  /** Of the gateway, e.g. `http://127.0.0.1:8080`. */
  readonly url: string
  /** An API key or a JWT. */
  readonly key: string
  /** Stands in for the global one. */
  readonly fetch?: typeof globalThis.fetch
  readonly retry?: RetryOptions
}

/** An event or label by its fields. Bigints are sent exactly; dates as ISO 8601. */
export type Fields = Readonly<Record<string, unknown>>

export interface SendOptions {
  /**
   * Becomes the event's id (of several: `<key>.<index>`). By default a random one per call, which every retry of the call repeats. Null
   * = none: for events that have ids of their own, which then make retries safe where the pipeline has `dedupe`.
   */
  readonly idempotencyKey?: string | null
  /** W3C trace context. */
  readonly traceparent?: string
  readonly signal?: AbortSignal
}

export interface ItemProblem {
  readonly code: string
  /** Where in the event: a JSON Pointer, '' = the event itself. */
  readonly pointer: string
  readonly detail: string
}

/** What became of one event or label. `accepted`: it is in Kafka. `refused`: it is not, and never will be as it is. */
export type SendResult =
  | {
      readonly status: 'accepted'
      /** What the prediction is asked for by; null for labels, and where the topic keeps no append times. */
      readonly requestId: string | null
      readonly eventId: string
      /** An earlier request with the same key had brought it in. */
      readonly repeated: boolean
    }
  | { readonly status: 'refused'; readonly problem: ItemProblem }

/** How an event ended, or that it has not yet. */
export type PredictionAnswer =
  | { readonly state: 'predicted'; readonly prediction: PredictionView }
  | { readonly state: 'rejected'; readonly reason: string; readonly message: string }
  | { readonly state: 'pending'; readonly requestId: string | null }

export interface PredictOptions extends SendOptions {
  /** How long the gateway waits before it answers `pending`, whole seconds. By default as long as it likes. */
  readonly waitSeconds?: number
}

export interface StreamOptions {
  /** Only of these entity keys. */
  readonly keys?: readonly string[]
  /** Only of these requests. */
  readonly requestIds?: readonly string[]
  /** `id` of the last one that was handled, to go on behind it. By default from now on. */
  readonly lastEventId?: string
  readonly signal?: AbortSignal
}

export interface StreamedPrediction {
  /** For `lastEventId`. */
  readonly id: string
  readonly prediction: PredictionView
}

/**
 * One gateway. Calls may overlap. A call sends again what had no answer, and what was answered 429 or 503, as often as `retry` allows;
 * it rejects with GatewayError, or with its signal's reason.
 */
export interface GatewayClient {
  /** One result per event, by index; rejects when all of them are refused (`problem.errors` says why). At most 1,000. */
  sendEvents(pipeline: string, events: readonly Fields[], options?: SendOptions): Promise<readonly SendResult[]>
  /** Brings an event in and waits for what becomes of it. `pending`: it is in Kafka, ask for it by its request id. */
  predict(pipeline: string, event: Fields, options?: PredictOptions): Promise<PredictionAnswer>
  /** Rejects with `unknown_request` (404) and `expired` (410). */
  prediction(requestId: string, options?: { readonly signal?: AbortSignal }): Promise<PredictionAnswer>
  /** Asks again until the event has ended or `timeoutMs` (default 30,000) are over: then `pending`. */
  waitForPrediction(
    requestId: string,
    options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<PredictionAnswer>
  /**
   * Predictions as they are made, each once and in the order of their partitions. A connection that ends is opened again
   * behind the last one that came. Rejects when the gateway refuses it, e.g. `position_lost` (410): predictions behind
   * `lastEventId` are kept no longer. Has no end: `break`, or abort the signal.
   */
  stream(pipeline: string, options?: StreamOptions): AsyncGenerator<StreamedPrediction, void, undefined>
  /** One result per label, by index; rejects when all of them are refused. At most 1,000. */
  sendLabels(pipeline: string, labels: readonly Fields[], options?: SendOptions): Promise<readonly SendResult[]>
}

const RETRY = { attempts: 5, baseMs: 200, maxMs: 30_000 }
const WAIT_MS = 30_000
const FIRST_POLL_MS = 50

export { GatewayError }

/** Does no I/O before it is called. */
export function createGatewayClient(options: GatewayClientOptions): GatewayClient {
  const connection: ExchangeOptions = {
    url: options.url,
    key: options.key,
    fetch: options.fetch ?? globalThis.fetch,
    retry: { ...RETRY, ...options.retry },
  }

  async function send(path: string, records: readonly Fields[], options: SendOptions = {}): Promise<SendResult[]> {
    const { body } = await exchange(connection, posted(path, JSON.stringify(records, exact), options), readJson)
    return (body as { readonly results: readonly WireResult[] }).results.map(resultOf)
  }

  async function ask(requestId: string, signal?: AbortSignal): Promise<Asked> {
    const path = `/v1/predictions/${encodeURIComponent(requestId)}`
    const { body, headers } = await exchange(connection, { method: 'GET', path, signal }, readJson)
    return { answer: answerOf(body as WireAnswer), retryAfterMs: retryAfterMs(headers) }
  }

  return {
    sendEvents: (pipeline, events, options) => send(pathOf(pipeline, 'events'), events, options),
    sendLabels: (pipeline, labels, options) => send(pathOf(pipeline, 'labels'), labels, options),

    async predict(pipeline, event, options = {}) {
      const { waitSeconds } = options
      const request = posted(pathOf(pipeline, 'predict'), JSON.stringify(event, exact), options)
      const prefer: Readonly<Record<string, string>> =
        waitSeconds === undefined ? {} : { prefer: `wait=${waitSeconds}` }
      try {
        const headers = { ...request.headers, ...prefer }
        const { body } = await exchange(connection, { ...request, headers }, readJson)
        return answerOf(body as WireAnswer)
      } catch (error) {
        const rejection = error instanceof GatewayError ? rejectionOf(error) : null
        if (rejection === null) throw error
        return rejection
      }
    },

    prediction: async (requestId, options) => (await ask(requestId, options?.signal)).answer,

    async waitForPrediction(requestId, { timeoutMs = WAIT_MS, signal } = {}) {
      const endsAt = performance.now() + timeoutMs
      for (let attempt = 1; ; attempt++) {
        const asked = await ask(requestId, signal)
        const leftMs = endsAt - performance.now()
        if (asked.answer.state !== 'pending' || leftMs <= 0) return asked.answer
        const pauseMs = Math.min(FIRST_POLL_MS * 2 ** (attempt - 1), asked.retryAfterMs ?? Number.POSITIVE_INFINITY)
        await pause(Math.min(pauseMs, leftMs), signal)
      }
    },

    async *stream(pipeline, options = {}) {
      const { signal } = options
      const query = new URLSearchParams()
      for (const key of options.keys ?? []) query.append('key', key)
      for (const id of options.requestIds ?? []) query.append('request_id', id)
      const path = `${pathOf(pipeline, 'predictions/stream')}${query.size === 0 ? '' : `?${query}`}`
      let lastId = options.lastEventId ?? null
      let reconnectMs = 0
      for (let failures = 0; ; failures++) {
        if (failures > 0) await pause(Math.max(reconnectMs, jittered(failures + 1, connection.retry)), signal)
        const headers = { accept: 'text/event-stream', ...(lastId === null ? {} : { 'last-event-id': lastId }) }
        const opened = { method: 'GET', path, headers, signal } as const
        const body = await exchange(connection, opened, async (response) => response.body)
        for await (const { name, id, data, retryMs } of eventsOf(body, signal)) {
          failures = 0
          lastId = id ?? lastId
          reconnectMs = retryMs ?? reconnectMs
          if (name !== 'prediction' || data === '') continue
          yield { id: lastId ?? '', prediction: JSON.parse(data) as PredictionView }
        }
      }
    },
  }
}

interface WireResult {
  readonly status: 'accepted' | 'refused'
  readonly request_id?: string | null
  readonly event_id?: string
  readonly repeated?: boolean
  readonly problem?: ItemProblem
}

interface WireAnswer {
  readonly state: 'predicted' | 'rejected' | 'pending'
  readonly prediction?: PredictionView
  readonly reason?: string
  readonly message?: string
  readonly request_id?: string | null
}

interface Asked {
  readonly answer: PredictionAnswer
  readonly retryAfterMs: number | null
}

function pathOf(pipeline: string, what: string): string {
  return `/v1/pipelines/${encodeURIComponent(pipeline)}/${what}`
}

function posted(path: string, body: string, { idempotencyKey, traceparent, signal }: SendOptions) {
  const key = idempotencyKey === undefined ? crypto.randomUUID() : idempotencyKey
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (key !== null) headers['idempotency-key'] = key
  if (traceparent !== undefined) headers['traceparent'] = traceparent
  return { method: 'POST' as const, path, headers, body, signal }
}

/** JSON's numbers stop being exact at 2^53: the gateway takes digits in a string for them. */
function exact(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}

async function readJson(response: Response): Promise<{ readonly body: unknown; readonly headers: Headers }> {
  return { body: await response.json(), headers: response.headers }
}

function resultOf({ status, problem, request_id, event_id, repeated }: WireResult): SendResult {
  if (status === 'refused' && problem !== undefined) return { status, problem }
  return { status: 'accepted', requestId: request_id ?? null, eventId: event_id ?? '', repeated: repeated === true }
}

function answerOf({ state, prediction, reason, message, request_id }: WireAnswer): PredictionAnswer {
  if (state === 'predicted' && prediction !== undefined) return { state, prediction }
  if (state === 'rejected') return { state, reason: reason ?? '', message: message ?? '' }
  return { state: 'pending', requestId: request_id ?? null }
}

/** A rejected event is an answer, also where the gateway has a problem for it. */
function rejectionOf({ code, problem, message }: GatewayError): PredictionAnswer | null {
  if (code !== 'rejected' || problem === null) return null
  return { state: 'rejected', reason: String(problem['reason']), message }
}

/** Ends when the connection does, however it does; rejects when the signal aborts. */
async function* eventsOf(body: ReadableStream<Uint8Array> | null, signal: AbortSignal | undefined) {
  if (body === null) return
  try {
    yield* readServerSentEvents(body)
  } catch (error) {
    signal?.throwIfAborted()
    // a connection that was cut is opened again by whoever reads
    if (!(error instanceof TypeError)) throw error
  }
}
