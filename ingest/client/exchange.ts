import { errorOf, GatewayError } from './gateway-error.ts'

export interface RetryOptions {
  /** How often a request is sent at most. Default 5; 1 = never again. */
  readonly attempts?: number
  /** Longest first pause, ms; it doubles. Default 200. */
  readonly baseMs?: number
  /** Longest pause, ms, also of those that the gateway asks for: longer ones end the retries. Default 30,000. */
  readonly maxMs?: number
}

export interface ExchangeOptions {
  readonly url: string
  readonly key: string
  readonly fetch: typeof globalThis.fetch
  readonly retry: Required<RetryOptions>
}

export interface ExchangeRequest {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal?: AbortSignal | undefined
}

/**
 * One request until it has an answer that `read` has read to its end: again after 429, 503 and when there was none, every time with the
 * same headers (so with the same Idempotency-Key), after what `Retry-After` says or a pause with jitter. Rejects with
 * GatewayError, or with the signal's reason.
 */
export async function exchange<T>(
  options: ExchangeOptions,
  request: ExchangeRequest,
  read: (response: Response) => Promise<T>,
): Promise<T> {
  const { attempts } = options.retry
  for (let attempt = 1; ; attempt++) {
    const result = await once(options, request, read)
    if (result.ok) return result.value
    const pauseMs = pauseBefore(attempt + 1, result, options.retry)
    if (attempt >= attempts || pauseMs === null) throw result.error
    await pause(pauseMs, request.signal)
  }
}

type Attempt<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: GatewayError; readonly response: Response | null }

async function once<T>(
  { url, key, fetch }: ExchangeOptions,
  request: ExchangeRequest,
  read: (response: Response) => Promise<T>,
): Promise<Attempt<T>> {
  const { method, path, headers, body, signal } = request
  try {
    const response = await fetch(new URL(path, url), {
      method,
      headers: { authorization: `Bearer ${key}`, ...headers },
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    })
    if (!response.ok) return { ok: false, error: await errorOf(response), response }
    return { ok: true, value: await read(response) }
  } catch (cause) {
    signal?.throwIfAborted()
    const error = new GatewayError('unreachable', `no whole answer from ${url}`, { cause })
    return { ok: false, error, response: null }
  }
}

/** Null = it is not worth another try. */
function pauseBefore(
  attempt: number,
  { response }: { readonly response: Response | null },
  retry: Required<RetryOptions>,
): number | null {
  if (response === null) return jittered(attempt, retry)
  if (response.status !== 429 && response.status !== 503) return null
  const asked = retryAfterMs(response.headers)
  if (asked === null) return jittered(attempt, retry)
  return asked <= retry.maxMs ? asked : null
}

/** In seconds or as a date; null when it does not say. */
export function retryAfterMs(headers: Headers): number | null {
  const value = headers.get('retry-after')
  if (value === null) return null
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now()
  return Number.isNaN(ms) ? null : Math.max(0, ms)
}

/** Before the attempt of that number, from 2. */
export function jittered(attempt: number, { baseMs, maxMs }: Required<RetryOptions>): number {
  return Math.random() * Math.min(maxMs, baseMs * 2 ** (attempt - 2))
}

/** Rejects with the signal's reason when it aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const done = (): void => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }
    const timer = setTimeout(done, ms)
    const aborted = (): void => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', aborted, { once: true })
  })
}
