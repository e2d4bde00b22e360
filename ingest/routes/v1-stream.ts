import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, fateOf, retryable } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { parseRequestId } from '../../schemas/request-id.ts'
import type { Access, Principal } from '../access/access.ts'
import { HttpProblem } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { CREDENTIAL_PROBLEMS, PipelineParams, problems } from '../http/schemas.ts'
import { whenClosed } from '../http/when-closed.ts'
import { createEventStream, type EventStream } from '../stream/event-stream.ts'
import { formatPositionId, parsePositionId } from '../stream/position-id.ts'
import type { FeedFilter, FeedPlace, FeedSubscription, PredictionFeed } from '../stream/prediction-feed.ts'
import { callerOf, ownPipeline } from './own-pipeline.ts'

export interface StreamSettings {
  /** A comment so often, so that whoever is between keeps the connection open and a client that is gone is noticed. */
  readonly heartbeatMs: number
  /** How long a client may leave what was written to it unread. */
  readonly stallMs: number
  /** When a client should come back; up to five times as long, so that not all come together. */
  readonly retryMs: number
  /** How often the credential is asked for again: a stream outlives one that is revoked, or is too old, by no more. */
  readonly admitMs: number
}

const STREAM_SETTINGS: StreamSettings = { heartbeatMs: 15_000, stallMs: 10_000, retryMs: 1_000, admitMs: 2_500 }

const RETRY_SPREAD = 5
const MAX_FILTERS = 100

/** Why a stream is ended. */
interface End {
  readonly reason: string
  readonly detail: string
}

const DRAINING: End = { reason: 'draining', detail: 'the gateway is shutting down' }
const CREDENTIAL_ENDED: End = {
  reason: 'credential_ended',
  detail: 'the credential that the stream was opened with is not valid any more',
}

const Several = (description: string) =>
  Type.Optional(
    Type.Union(
      [
        Type.String({ minLength: 1, maxLength: 512 }),
        Type.Array(Type.String({ minLength: 1, maxLength: 512 }), { maxItems: MAX_FILTERS }),
      ],
      { description },
    ),
  )

const Position = (description: string) => Type.Optional(Type.String({ maxLength: 8_192, description }))

const Query = Type.Object({
  key: Several('Only predictions of these entity keys; may be repeated.'),
  request_id: Several('Only predictions of these events; may be repeated.'),
  last_event_id: Position(
    'As the header Last-Event-ID, for clients that cannot set it; the header counts where both are.',
  ),
})

const DESCRIPTION = [
  "Server-sent events (`text/event-stream`): the tenant's predictions as they are made, each as `event: prediction` with a JSON",
  'object in its `data`. Without a position the stream begins now: what was predicted before is asked for by its request id.',
  'The `id` of an event, sent back as `Last-Event-ID`, resumes behind it: every prediction of a partition comes exactly once and',
  'in order. `event: cut` is the last one of a stream that the gateway ends (`subscriber_too_slow`, `stalled`, `draining`,',
  '`credential_ended`, …); resume from its `id`. A position whose predictions are kept no longer is answered 410: begin anew without one.',
  '',
  "Credentials are taken from headers only, never from the URL, which ends up in logs. A browser's own EventSource cannot set",
  'headers: use fetch, or a client on top of it.',
].join('\n')

/** `GET /v1/pipelines/{pipeline}/predictions/stream`. Streams end with a position to resume from once `draining` aborts. */
export function v1Stream(deps: {
  readonly pipeline: CompiledPipeline
  readonly access: Access
  readonly feed: PredictionFeed
  readonly clock: Clock
  readonly logger: Logger
  readonly draining: AbortSignal
  readonly settings?: Partial<StreamSettings>
}): (app: Gateway) => void {
  const { pipeline, access, feed, clock, logger } = deps
  const settings = { ...STREAM_SETTINGS, ...deps.settings }
  return (app) => {
    const closing = new AbortController()
    const draining = AbortSignal.any([deps.draining, closing.signal])
    // requests that run are waited for, and these would never end
    app.addHook('preClose', async () => closing.abort())

    app.get(
      '/v1/pipelines/:pipeline/predictions/stream',
      {
        config: { scope: 'read' },
        onRequest: ownPipeline(pipeline),
        schema: {
          operationId: 'streamPredictions',
          summary: 'Follow predictions',
          description: DESCRIPTION,
          tags: ['predictions'],
          params: PipelineParams,
          querystring: Query,
          headers: Type.Object({ 'last-event-id': Position('The id of the last event that came: resumes behind it.') }),
          response: {
            200: {
              description: 'Events, until the client or the gateway ends it.',
              content: { 'text/event-stream': { schema: Type.String() } },
            },
            ...CREDENTIAL_PROBLEMS,
            ...problems(400, 404, 410),
          },
        },
      },
      async (request, reply) => {
        const { tenant } = callerOf(request)
        const { key, request_id, last_event_id } = request.query
        const filter = { tenant, keys: setOf(key), requestIds: requestIdsOf(pipeline.name, setOf(request_id)) }
        const from = placeOf(request.headers['last-event-id'] || last_event_id || null)
        if (draining.aborted) throw retryable('draining', 'the gateway is shutting down')
        const ending = createEnding()
        const end = (): void => ending.end(DRAINING)
        whenClosed(reply.raw, end)
        draining.addEventListener('abort', end, { once: true })
        const checking = setInterval(() => void endUnlessAdmitted(request, ending), settings.admitMs)
        try {
          const subscription = await subscribed(filter, from, ending.signal)
          reply.hijack()
          await serve(subscription, reply, ending)
        } finally {
          clearInterval(checking)
          draining.removeEventListener('abort', end)
        }
      },
    )

    /** Never rejects. */
    async function endUnlessAdmitted(request: FastifyRequest, ending: Ending): Promise<void> {
      const admission = await access.admit(request.headers)
      if (admission.ok && isStill(admission.principal, callerOf(request))) return
      const isUnknown = !admission.ok && admission.status === 503
      ending.end(isUnknown ? { reason: admission.code, detail: admission.detail } : CREDENTIAL_ENDED)
    }

    async function subscribed(filter: FeedFilter, from: FeedPlace | null, signal: AbortSignal) {
      try {
        return await feed.subscribe(filter, from, signal)
      } catch (error) {
        if (signal.aborted) throw retryable('stream_ended', 'the stream was ended before it began', error)
        if (fateOf(error) !== 'reject') throw error
        const { code, message } = describeError(error)
        throw new HttpProblem(410, code, `${message}: begin anew without a position`, { cause: error })
      }
    }

    /** Never rejects: the answer is on its way. */
    async function serve(subscription: FeedSubscription, reply: FastifyReply, ending: Ending): Promise<void> {
      const { raw } = reply
      const stream = createEventStream(raw, { clock, stallMs: settings.stallMs, signal: ending.signal })
      const idNow = (): string => formatPositionId(subscription.generation, subscription.position())
      for (const [name, value] of Object.entries(reply.getHeaders()))
        if (value !== undefined) raw.setHeader(name, value)
      raw.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        // nginx would collect what is meant to arrive at once
        'x-accel-buffering': 'no',
      })
      const { retryMs } = settings
      stream.begin(Math.round(retryMs * (1 + Math.random() * (RETRY_SPREAD - 1))), idNow())
      const beating = setInterval(() => stream.heartbeat(idNow()), settings.heartbeatMs)
      const { reason, detail } = await follow(subscription, stream, ending)
      clearInterval(beating)
      await stream.cut(reason, detail, idNow())
    }

    /** Why it ended. */
    async function follow(subscription: FeedSubscription, stream: EventStream, ending: Ending): Promise<End> {
      try {
        for await (const { prediction, position } of subscription) {
          if (await stream.prediction(prediction, formatPositionId(subscription.generation, position))) continue
          return { reason: 'stalled', detail: `nothing was read for ${settings.stallMs} ms` }
        }
        return ending.why
      } catch (error) {
        const { code, message } = describeError(error)
        if (fateOf(error) === 'reject') return { reason: code, detail: message }
        logger.error({ code, message, route: 'streamPredictions' }, 'a stream was ended')
        return { reason: 'internal_error', detail: 'the gateway failed at this stream' }
      }
    }
  }
}

interface Ending {
  readonly signal: AbortSignal
  readonly why: End
  end(why: End): void
}

function createEnding(): Ending {
  const controller = new AbortController()
  let why = DRAINING
  return {
    signal: controller.signal,
    get why() {
      return why
    },
    end(because) {
      if (!controller.signal.aborted) why = because
      controller.abort()
    },
  }
}

/** A token's principal is made anew each time. */
function isStill({ tenant, scopes }: Principal, opened: Principal): boolean {
  return tenant === opened.tenant && scopes.has('read')
}

function setOf(value: string | readonly string[] | undefined): ReadonlySet<string> | null {
  return value === undefined ? null : new Set(typeof value === 'string' ? [value] : value)
}

function requestIdsOf(pipeline: string, texts: ReadonlySet<string> | null): ReadonlySet<string> | null {
  for (const text of texts ?? []) {
    if (parseRequestId(text)?.pipeline !== pipeline) {
      throw new HttpProblem(400, 'invalid_request_id', 'a request_id is none of this pipeline')
    }
  }
  return texts
}

function placeOf(text: string | null): FeedPlace | null {
  if (text === null) return null
  const place = parsePositionId(text)
  if (place === null)
    throw new HttpProblem(400, 'invalid_event_id', 'the position to resume from is no id of this stream')
  return place
}
