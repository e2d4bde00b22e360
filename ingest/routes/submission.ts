import type { FastifyReply, FastifyRequest } from 'fastify'
import { MillraceError } from '../../infra/runtime/errors.ts'
import { take } from '../app.ts'
import { idempotencyKeyOf } from '../http/idempotency-key.ts'
import { HttpProblem } from '../http/problem.ts'
import { traceparentOf } from '../http/traceparent.ts'
import type { Accepted, Intake } from '../intake/intake.ts'
import type { Limits } from '../limits/limits.ts'
import type { EventFormat, EventReader, ReadItem } from '../mapping/event-reader.ts'
import { callerOf } from './own-pipeline.ts'

export interface SubmissionDeps {
  readonly reader: EventReader
  readonly intake: Intake
  readonly limits: Limits
  readonly maxEvents: number
  /** Whether the idempotency key becomes the event's id, or only saves a second way through Kafka. */
  readonly keyBecomesId: boolean
}

export interface Submission {
  /** At least one of them was accepted. */
  readonly results: readonly Accepted[]
  readonly several: boolean
}

const FORMATS: Readonly<Record<string, EventFormat>> = {
  'application/json': 'json',
  'application/x-ndjson': 'ndjson',
  'application/avro': 'avro-container',
  'application/vnd.millrace.avro': 'avro',
}

/** For the document: the same bodies wherever events (or labels) come in; `record` is the JSON Schema of one. */
export function documentedBody(description: string, maxEvents: number, record: object) {
  const binary = { schema: { type: 'string', format: 'binary' } }
  return {
    description,
    content: {
      'application/json': {
        schema: { oneOf: [record, { type: 'array', items: record, minItems: 1, maxItems: maxEvents }] },
      },
      'application/x-ndjson': { schema: { type: 'string' } },
      'application/avro': binary,
      'application/vnd.millrace.avro': binary,
    },
  }
}

/** What is answered of several: 202 when all are in Kafka, 207 when some were refused. */
export function answerOfMany<Item extends object>(
  results: readonly Accepted[],
  itemOf: (accepted: Extract<Accepted, { ok: true }>) => Item,
) {
  const accepted = results.filter(({ ok }) => ok).length
  const refused = results.length - accepted
  const items = results.map((result, index) =>
    result.ok
      ? { index, status: 'accepted' as const, ...itemOf(result) }
      : { index, status: 'refused' as const, problem: result.problem },
  )
  return { status: refused === 0 ? 202 : 207, body: { accepted, refused, results: items } } as const
}

/** Reads the body and brings its events in as `bringIn` does. Throws when none of them was accepted. */
export async function submitBody(
  request: FastifyRequest,
  reply: FastifyReply,
  deps: SubmissionDeps,
): Promise<Submission> {
  const { reader, intake, limits, maxEvents, keyBecomesId } = deps
  const idempotencyKey = idempotencyKeyOf(request)
  const { items, several } = reader.read(bodyOf(request), formatOf(request), {
    idempotencyKey: keyBecomesId ? idempotencyKey : null,
    headers: request.raw.headersDistinct,
    maxEvents,
  })
  if (!items.some(({ ok }) => ok)) throw noneAccepted(items, several)
  const results = await bringIn(request, reply, { intake, limits }, items, idempotencyKey)
  if (!results.some(({ ok }) => ok)) throw noneAccepted(results, several)
  return { results, several }
}

/**
 * Takes events from the caller's limits and brings them into Kafka. Only what this very request brings in stays taken, and is counted
 * as its usage: what an earlier one has brought in already was counted with it, and is said in the answer's headers. What is not
 * acknowledged is given back, though it may come in still: whoever sends it again pays for it then.
 */
export async function bringIn(
  request: FastifyRequest,
  reply: FastifyReply,
  { intake, limits }: Pick<SubmissionDeps, 'intake' | 'limits'>,
  items: readonly ReadItem[],
  idempotencyKey: string | null,
): Promise<readonly Accepted[]> {
  const principal = callerOf(request)
  const by = { tenant: principal.tenant, traceparent: traceparentOf(request.headers), idempotencyKey }
  const cost = (events: number) => ({ requests: 0, events, bytes: 0 })
  let taken = 0
  try {
    const results = await intake.submit(items, by, async () => {
      const events = items.filter(({ ok }) => ok).length
      await take(limits, principal, cost(events), reply)
      taken = events
    })
    request.acceptedEvents = results.filter((result) => result.ok && !result.repeated).length
    if (results.some((result) => result.ok && result.repeated)) reply.header('idempotent-replayed', 'true')
    return results
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'idempotency_key_reused') {
      throw new HttpProblem(422, error.code, error.message, { cause: error })
    }
    throw error
  } finally {
    if (taken > request.acceptedEvents) await limits.giveBack(principal, cost(taken - request.acceptedEvents))
  }
}

function noneAccepted(
  results: readonly ({ readonly ok: true } | Extract<Accepted, { ok: false }>)[],
  several: boolean,
): HttpProblem {
  const errors = results.flatMap((result, index) => (result.ok ? [] : [{ index, ...result.problem }]))
  const [first] = errors
  if (first === undefined) return new HttpProblem(400, 'no_events', 'the body has no events')
  if (several)
    return new HttpProblem(400, 'invalid_events', `none of ${errors.length} can be accepted`, { members: { errors } })
  return new HttpProblem(400, first.code, first.detail, { members: { errors } })
}

function bodyOf({ body }: FastifyRequest): Buffer {
  if (Buffer.isBuffer(body)) return body
  throw new HttpProblem(400, 'no_events', 'the request has no body')
}

function formatOf({ headers }: FastifyRequest): EventFormat {
  const type = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const format = Object.hasOwn(FORMATS, type) ? FORMATS[type] : undefined
  if (format !== undefined) return format
  throw new HttpProblem(
    415,
    'unsupported_media_type',
    `the content type must be one of ${Object.keys(FORMATS).join(', ')}`,
  )
}
