import { describeError, fateOf, MillraceError } from '../../infra/runtime/errors.ts'

/** An answer that is a problem, as RFC 9457 has it: what is wrong, in words for whoever sent the request. */
export class HttpProblem extends Error {
  readonly status: number
  /** Stable; its page in the documentation is the problem's type. */
  readonly code: string
  /** Members beside type, title, status, detail and instance. */
  readonly members: Readonly<Record<string, unknown>>
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    code: string,
    detail: string,
    more: {
      readonly members?: Readonly<Record<string, unknown>>
      readonly headers?: Readonly<Record<string, string>>
      readonly cause?: unknown
    } = {},
  ) {
    super(detail, { cause: more.cause })
    this.name = 'HttpProblem'
    this.status = status
    this.code = code
    this.members = more.members ?? {}
    this.headers = more.headers ?? {}
  }
}

/** As it is written into an `application/problem+json` body. */
export interface ProblemBody extends Readonly<Record<string, unknown>> {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly instance: string
  readonly code: string
}

const TYPE = 'urn:millrace:problem:'
const RETRY_SECONDS = 1
const RETRY_JITTER_SECONDS = 4

/** Seconds with jitter, so that those who were turned away together do not come back together. */
export function retryAfter(leastSeconds = RETRY_SECONDS, jitterSeconds = RETRY_JITTER_SECONDS): string {
  return String(leastSeconds + Math.floor(Math.random() * (jitterSeconds + 1)))
}

/**
 * What an error means to whoever sent the request: a `reject` is theirs (400), a `retry` passes (503 with `Retry-After`), what Fastify
 * refuses keeps its status, and everything else is ours (500) and says nothing about why.
 */
export function problemOf(error: unknown): HttpProblem {
  if (error instanceof HttpProblem) return error
  if (error instanceof MillraceError && fateOf(error) !== 'crash') {
    const { code, message } = describeError(error)
    if (error.fate === 'reject') return new HttpProblem(400, code, message, { cause: error })
    return new HttpProblem(503, code, 'a service behind the gateway is away; try again', {
      headers: { 'retry-after': retryAfter() },
      cause: error,
    })
  }
  const { statusCode } = error as { readonly statusCode?: number }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    const { code, message } = describeError(error)
    return new HttpProblem(statusCode, fastifyCode(code), message, { cause: error })
  }
  return new HttpProblem(500, 'internal_error', 'the gateway failed at this request', { cause: error })
}

/** `FST_ERR_CTP_BODY_TOO_LARGE` → `body_too_large`. */
function fastifyCode(code: string): string {
  return code.replace(/^FST_(ERR_)?(CTP_)?/, '').toLowerCase()
}

export function problemBody({ status, code, message, members }: HttpProblem, instance: string): ProblemBody {
  return {
    type: `${TYPE}${code}`,
    title: code.replaceAll('_', ' '),
    status,
    detail: message,
    instance,
    code,
    ...members,
  }
}
