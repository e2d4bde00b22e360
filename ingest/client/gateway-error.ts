/** What a gateway said instead of what was asked for, or that none could be reached. */
export class GatewayError extends Error {
  /** Stable, e.g. `rate_limited`, `invalid_events`; `unreachable` without a whole answer. */
  readonly code: string
  /** Of the HTTP answer; null without one. */
  readonly status: number | null
  /** The problem document (RFC 9457) as it came; null when there was none. */
  readonly problem: Readonly<Record<string, unknown>> | null

  constructor(
    code: string,
    message: string,
    more: {
      readonly status?: number
      readonly problem?: Readonly<Record<string, unknown>>
      readonly cause?: unknown
    } = {},
  ) {
    super(message, { cause: more.cause })
    this.name = 'GatewayError'
    this.code = code
    this.status = more.status ?? null
    this.problem = more.problem ?? null
  }
}

/** From an answer that is no success. Reads its body. */
export async function errorOf(response: Response): Promise<GatewayError> {
  const { status } = response
  const text = await response.text()
  const problem = problemOf(text)
  const code = typeof problem?.['code'] === 'string' ? problem['code'] : `http_${status}`
  const detail = typeof problem?.['detail'] === 'string' ? problem['detail'] : `the gateway answered ${status}`
  return new GatewayError(code, detail, problem === null ? { status } : { status, problem })
}

function problemOf(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : null
  } catch {
    // a proxy's page, for instance
    return null
  }
}
