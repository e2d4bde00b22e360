import { Type } from 'typebox'
import { fateOf } from '../../infra/runtime/errors.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { parseRequestId } from '../../schemas/request-id.ts'
import type { Answer, Answers, PredictionView } from '../answers/answers.ts'
import { recordSchema } from '../http/event-schema.ts'
import { HttpProblem } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import {
  BODY_PROBLEMS,
  CREDENTIAL_PROBLEMS,
  IntakeHeaders,
  ItemProblem,
  PipelineParams,
  Prediction,
  problems,
} from '../http/schemas.ts'
import { whenClosed } from '../http/when-closed.ts'
import type { Accepted } from '../intake/intake.ts'
import { callerOf, ownPipeline } from './own-pipeline.ts'
import { documentedBody, type SubmissionDeps, submitBody } from './submission.ts'
import { predictionPath } from './v1-events.ts'

const MAX_EVENTS = 100
const MAX_WAIT_MS = 30_000
const LOOK_AGAIN = '1'

const ids = { request_id: Type.Union([Type.String(), Type.Null()]), event_id: Type.String() }
const PredictedItem = Type.Object({ state: Type.Literal('predicted'), ...ids, prediction: Prediction })
const PendingItem = Type.Object({ state: Type.Literal('pending'), ...ids })
const RejectedItem = Type.Object({
  state: Type.Literal('rejected'),
  ...ids,
  reason: Type.String(),
  message: Type.String(),
})
const RefusedItem = Type.Object({ state: Type.Literal('refused'), problem: ItemProblem })
const Answered = Type.Object(
  { results: Type.Array(Type.Union([PredictedItem, PendingItem, RejectedItem, RefusedItem])) },
  { title: 'Answered', description: 'What became of each event of the body, in their order.' },
)

type Item =
  | (Type.Static<typeof PredictedItem> | Type.Static<typeof PendingItem> | Type.Static<typeof RejectedItem>)
  | Type.Static<typeof RefusedItem>

export interface PredictDeps extends Omit<SubmissionDeps, 'maxEvents' | 'keyBecomesId'> {
  readonly pipeline: CompiledPipeline
  readonly answers: Answers
  /** How long a request waits that does not say (`Prefer: wait=<seconds>`), ms. */
  readonly waitMs: number
  readonly headersOf: (prediction: PredictionView) => Readonly<Record<string, string>>
}

/**
 * `POST /v1/pipelines/{pipeline}/predict`: brings events in like `…/events` and waits for what becomes of them. From 202 on an event
 * is in Kafka whatever happens to the request, and can be asked for by its id.
 */
export function v1Predict(deps: PredictDeps): (app: Gateway) => void {
  const { pipeline, answers, headersOf } = deps
  const { event, http } = pipeline
  const record = recordSchema('Event', event.schema, { madeUp: event.idField, mapping: http })
  const submission: SubmissionDeps = { ...deps, maxEvents: MAX_EVENTS, keyBecomesId: true }

  async function itemOf(result: Accepted, index: number, tenant: string, signal: AbortSignal): Promise<Item> {
    if (!result.ok) return { state: 'refused', problem: { index, ...result.problem } }
    const given = { request_id: result.requestId, event_id: result.id }
    const id = result.requestId === null ? null : parseRequestId(result.requestId)
    const answer: Answer = id === null ? { state: 'pending' } : await waited(answers.wait(id, tenant, signal))
    if (answer.state === 'predicted' || answer.state === 'rejected') return { ...given, ...answer }
    return { state: 'pending', ...given }
  }

  return (app) => {
    app.post(
      '/v1/pipelines/:pipeline/predict',
      {
        config: {
          scope: 'ingest',
          documentedBody: documentedBody(`An event, or up to ${MAX_EVENTS} of them.`, MAX_EVENTS, record),
        },
        onRequest: ownPipeline(pipeline),
        schema: {
          operationId: 'predict',
          summary: 'Bring events in and wait for their predictions',
          tags: ['predictions'],
          params: PipelineParams,
          headers: Type.Interface([IntakeHeaders], {
            prefer: Type.Optional(
              Type.String({
                description: `\`wait=<seconds>\`, up to ${MAX_WAIT_MS / 1_000} (RFC 7240).`,
                maxLength: 256,
              }),
            ),
          }),
          response: {
            200: {
              description: 'Predicted; of several, all of them.',
              content: { 'application/json': { schema: { anyOf: [PredictedItem, Answered] } } },
            },
            202: {
              description: 'It is in Kafka and its prediction is late: ask for it at its Location.',
              content: { 'application/json': { schema: PendingItem } },
            },
            207: {
              description: 'Of several, not all are predicted.',
              content: { 'application/json': { schema: Answered } },
            },
            ...CREDENTIAL_PROBLEMS,
            ...BODY_PROBLEMS,
            ...problems(404, 422),
          },
        },
      },
      async (request, reply) => {
        const preferred = preferredWaitMs(request.headers.prefer)
        const { results, several } = await submitBody(request, reply, submission)
        if (preferred !== null) reply.header('preference-applied', `wait=${preferred / 1_000}`)
        const gone = new AbortController()
        whenClosed(reply.raw, () => gone.abort())
        const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(preferred ?? deps.waitMs)])
        const { tenant } = callerOf(request)
        const items = await Promise.all(results.map((result, index) => itemOf(result, index, tenant, signal)))
        if (several) {
          const isWhole = items.every(({ state }) => state === 'predicted')
          return reply.code(isWhole ? 200 : 207).send({ results: items })
        }
        const [item] = items
        if (item === undefined || item.state === 'refused')
          throw new Error('a single event was neither accepted nor refused')
        if (item.request_id !== null) reply.header('location', predictionPath(item.request_id))
        if (item.state === 'rejected') {
          const { request_id, event_id, reason, message } = item
          throw new HttpProblem(422, 'rejected', message, { members: { reason, request_id, event_id } })
        }
        if (item.state === 'pending') return reply.code(202).header('retry-after', LOOK_AGAIN).send(item)
        return reply.code(200).headers(headersOf(item.prediction)).send(item)
      },
    )
  }
}

/** The event is in Kafka: that nobody can be asked what became of it is no failure of the request. */
async function waited(answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer
  } catch (error) {
    if (fateOf(error) !== 'retry') throw error
    return { state: 'pending' }
  }
}

/** Of `Prefer: respond-async, wait=10`; null when it does not say. */
function preferredWaitMs(prefer: unknown): number | null {
  const [, seconds] =
    /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,4})"?\s*(?:[,;]|$)/i.exec(typeof prefer === 'string' ? prefer : '') ?? []
  return seconds === undefined ? null : Math.min(Number(seconds) * 1_000, MAX_WAIT_MS)
}
