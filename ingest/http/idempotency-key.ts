import type { FastifyRequest } from 'fastify'
import { HttpProblem } from './problem.ts'

/** What RFC 9110 lets a header value have, without spaces at its ends. */
export const IDEMPOTENCY_KEY = /^[!-~](?:[ -~]{0,198}[!-~])?$/

/** The request's `Idempotency-Key`; null = it has none. Throws HttpProblem 400 `invalid_idempotency_key`. */
export function idempotencyKeyOf({ raw }: FastifyRequest): string | null {
  // `headers` has two of them as one, with a comma between
  const [key, ...others] = raw.headersDistinct['idempotency-key'] ?? []
  if (key === undefined) return null
  if (others.length > 0) throw invalid('there is more than one Idempotency-Key')
  if (!IDEMPOTENCY_KEY.test(key)) throw invalid('an Idempotency-Key is 1 to 200 printable ASCII characters')
  return key
}

function invalid(detail: string): HttpProblem {
  return new HttpProblem(400, 'invalid_idempotency_key', detail)
}
