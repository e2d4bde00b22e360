import { setMaxListeners } from 'node:events'
import type { ServerResponse } from 'node:http'
import { Type } from 'typebox'
import { parseRecordSchema } from '../../schemas/pipeline/avro-schema.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { parseRequestId } from '../../schemas/request-id.ts'
import type { Principal } from '../access/access.ts'
import type { Answer, Answers, PredictionView } from '../answers/answers.ts'
import { IDEMPOTENCY_KEY, idempotencyKeyOf } from '../http/idempotency-key.ts'
import { HttpProblem, retryAfter } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { whenClosed } from '../http/when-closed.ts'
import type { Accepted, Intake } from '../intake/intake.ts'
import type { Limits } from '../limits/limits.ts'
import type { EventReader, ReadItem } from '../mapping/event-reader.ts'
import { errors } from '../v2/error-shape.ts'
import { InferRequest, MAX_ROWS, readInference } from '../v2/infer-request.ts'
import { checkWanted, InferResponse, OUTPUTS, writeInference } from '../v2/infer-response.ts'
import { inputColumns } from '../v2/tensors.ts'
import { callerOf, mayUse } from './own-pipeline.ts'
import { bringIn } from './submission.ts'
import { Health } from './v2-health.ts'

export interface V2ModelDeps {
  readonly pipeline: CompiledPipeline
  readonly reader: EventReader
  readonly intake: Intake
  readonly limits: Limits
  readonly answers: Answers
  /** How long a request waits for its predictions, ms. */
  readonly waitMs: number
  /** Null when the gateway does its work. */
  readonly problem: () => string | null
}

const Model = Type.Object({ model: Type.String({ description: "The pipeline's name.", minLength: 1, maxLength: 256 }) })
const TensorMetadata = Type.Object(
  {
    name: Type.String(),
    datatype: Type.String(),
    shape: Type.Array(Type.Integer()),
    parameters: Type.Optional(Type.Object({ optional: Type.Boolean({ description: 'It may be left out.' }) })),
  },
  { title: 'TensorMetadata' },
)
const ModelMetadata = Type.Object(
  {
    name: Type.String(),
    platform: Type.String(),
    inputs: Type.Array(TensorMetadata),
    outputs: Type.Array(TensorMetadata),
  },
  { title: 'ModelMetadata' },
)

const CREDENTIAL_ERRORS = errors(401, 403, 429, 500, 503)

/**
 * `/v2/models/{model}`: a model of the protocol is a pipeline, because clients give what they know, the fields of the event, and
 * the pipeline computes what its model sees. Which version scores is for the pipeline's rollout to decide, so there are no
 * `/versions/…`: every answer says which one it was.
 *
 * `infer` brings its rows in as events, all or none, and answers 200 when every one has its prediction. Otherwise no row is left out
 * silently: 422 when one was rejected, 504 when one has no prediction yet; both name the request ids of all rows, to be asked for
 * under /v1. Whoever sends the same request with the same Idempotency-Key (or event ids, with the pipeline's `dedupe`)
 * doubles nothing.
 */
export function v2Models(deps: V2ModelDeps): (app: Gateway) => void {
  const { pipeline, problem } = deps
  const record = parseRecordSchema(pipeline.event.schema)
  const columns = inputColumns(record, pipeline.event.idField, mappedFields(pipeline))
  const metadata = {
    name: pipeline.name,
    platform: 'millrace',
    inputs: columns.map(({ name, datatype, absent }) => {
      return { name, datatype, shape: [-1], parameters: { optional: absent !== 'refused' } }
    }),
    outputs: OUTPUTS.map(({ name, datatype, shape }) => ({ name, datatype, shape: [...shape] })),
  }
  const checkModel = (name: string, principal: Principal | null): void => {
    const isHere = name === pipeline.name && (principal === null || mayUse(pipeline, principal))
    if (!isHere) throw new HttpProblem(404, 'not_found', 'there is no such model')
  }

  return (app) => {
    app.get(
      '/models/:model',
      {
        config: { scope: 'read' },
        schema: {
          operationId: 'v2Model',
          summary: 'What the model takes and answers',
          tags: ['v2'],
          params: Model,
          response: {
            200: { description: 'Its inputs and outputs.', content: { 'application/json': { schema: ModelMetadata } } },
            ...CREDENTIAL_ERRORS,
            ...errors(400, 404),
          },
        },
      },
      async (request) => {
        checkModel(request.params.model, callerOf(request))
        return metadata
      },
    )
    app.get(
      '/models/:model/ready',
      {
        config: { scope: 'public' },
        schema: {
          operationId: 'v2ModelReady',
          summary: 'Whether it can be inferred',
          tags: ['v2'],
          params: Model,
          response: {
            200: { description: 'It can.', content: { 'application/json': { schema: Health } } },
            ...errors(400, 404, 500, 503),
          },
        },
      },
      async (request) => {
        checkModel(request.params.model, null)
        const why = problem()
        if (why !== null) {
          const headers = { 'retry-after': retryAfter() }
          throw new HttpProblem(503, 'not_ready', 'the gateway is not ready', { headers })
        }
        return { ready: true }
      },
    )
    app.post(
      '/models/:model/infer',
      {
        config: {
          scope: 'ingest',
          documentedBody: {
            description: `Columns of up to ${MAX_ROWS} events; with Inference-Header-Content-Length, binary tensors behind the JSON.`,
            content: {
              'application/json': { schema: InferRequest },
              'application/octet-stream': { schema: { type: 'string', format: 'binary' } },
            },
          },
        },
        schema: {
          operationId: 'v2Infer',
          summary: 'Bring events in and wait for their predictions',
          tags: ['v2'],
          params: Model,
          headers: InferHeaders,
          response: {
            200: {
              description: 'Every row has its prediction.',
              content: {
                'application/json': { schema: InferResponse },
                'application/octet-stream': { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }) },
              },
            },
            ...CREDENTIAL_ERRORS,
            ...errors(400, 404, 408, 410, 413, 415, 422, 504),
          },
        },
      },
      async (request, reply) => {
        const principal = callerOf(request)
        checkModel(request.params.model, principal)
        if (!principal.scopes.has('read')) {
          throw new HttpProblem(403, 'missing_scope', 'the credential does not have the scope read')
        }
        const { body } = request
        if (!Buffer.isBuffer(body)) throw new HttpProblem(400, 'invalid_inference_request', 'the request has no body')
        const inference = readInference(body, jsonBytesOf(request.headers, body.length), columns)
        checkWanted(inference)
        const idempotencyKey = idempotencyKeyOf(request)
        const { items } = deps.reader.read(inference.events, 'json', {
          idempotencyKey,
          headers: request.raw.headersDistinct,
          maxEvents: MAX_ROWS,
        })
        refuseProblems(items)
        const accepted = await bringIn(request, reply, deps, items, idempotencyKey)
        const waitMs = Math.min(deps.waitMs, inference.timeoutMs ?? deps.waitMs)
        const rows = await ends(deps.answers, accepted, principal.tenant, waiting(reply.raw, waitMs))
        const written = writeInference(pipeline.name, inference, predictionsOf(rows))
        if (written.jsonBytes !== null) reply.header('inference-header-content-length', String(written.jsonBytes))
        return reply
          .type(written.jsonBytes === null ? 'application/json' : 'application/octet-stream')
          .send(written.body as never)
      },
    )
  }
}

const InferHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      pattern: IDEMPOTENCY_KEY.source,
      description: 'Becomes `<key>.<row>`, the id of each event. Send the same again when a request had no answer.',
    }),
  ),
  'inference-header-content-length': Type.Optional(
    Type.String({ pattern: '^[0-9]{1,9}$', description: 'Bytes of the JSON when binary tensors come behind it.' }),
  ),
  traceparent: Type.Optional(Type.String({ description: 'W3C trace context; goes with the events.' })),
})

/** What the pipeline gives constants, or takes from headers. */
function mappedFields({ http }: CompiledPipeline): ReadonlySet<string> {
  return new Set([...(http?.constants ?? []), ...(http?.headers ?? [])].map(({ field }) => field))
}

function jsonBytesOf(headers: Readonly<Record<string, unknown>>, bodyBytes: number): number | null {
  const length = headers['inference-header-content-length']
  if (length === undefined) return null
  if (Number(length) <= bodyBytes) return Number(length)
  const detail = 'Inference-Header-Content-Length is more than the body has'
  throw new HttpProblem(400, 'invalid_inference_request', detail)
}

/** Before anything is in Kafka: one row that is not valid refuses them all. */
function refuseProblems(items: readonly ReadItem[]): void {
  const rows = items.flatMap((item, row) => (item.ok ? [] : [{ row, ...item.problem }]))
  const [first] = rows
  if (first === undefined) return
  const detail = `row ${first.row}: ${first.code} at ${first.pointer || '/'}: ${first.detail}`
  throw new HttpProblem(400, 'invalid_rows', detail, { members: { rows } })
}

/** Aborts when the time is over or the client has gone. */
function waiting(response: ServerResponse, waitMs: number): AbortSignal {
  const gone = new AbortController()
  whenClosed(response, () => gone.abort())
  const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(waitMs)])
  setMaxListeners(MAX_ROWS + 1, signal)
  return signal
}

interface RowEnd {
  readonly requestId: string | null
  readonly answer: Answer
}

function ends(
  answers: Answers,
  accepted: readonly Accepted[],
  tenant: string,
  signal: AbortSignal,
): Promise<readonly RowEnd[]> {
  return Promise.all(
    accepted.map(async (result): Promise<RowEnd> => {
      if (!result.ok) {
        const { code, detail } = result.problem
        return { requestId: null, answer: { state: 'rejected', reason: code, message: detail } }
      }
      const { requestId } = result
      const id = requestId === null ? null : parseRequestId(requestId)
      return { requestId, answer: id === null ? { state: 'pending' } : await answers.wait(id, tenant, signal) }
    }),
  )
}

/** Throws when a row has none. */
function predictionsOf(rows: readonly RowEnd[]): readonly PredictionView[] {
  const predictions: PredictionView[] = []
  for (const { answer } of rows) if (answer.state === 'predicted') predictions.push(answer.prediction)
  if (predictions.length === rows.length) return predictions
  const members = {
    rows: rows.map(({ requestId, answer }, row) => {
      const { prediction: _, ...state } = { prediction: null, ...answer }
      return { row, request_id: requestId, ...state }
    }),
  }
  const first = (state: Answer['state']): number => rows.findIndex(({ answer }) => answer.state === state)
  const rejected = rows[first('rejected')]?.answer
  if (rejected?.state === 'rejected') {
    const detail = `row ${first('rejected')} was rejected: ${rejected.reason}: ${rejected.message}`
    throw new HttpProblem(422, 'rejected', detail, { members })
  }
  const gone = rows.findIndex(({ answer }) => answer.state === 'expired' || answer.state === 'unknown')
  if (gone >= 0) {
    throw new HttpProblem(410, 'expired', `row ${gone} repeats an event whose answer is kept no longer`, { members })
  }
  const late = rows.length - predictions.length
  const detail = `${late} of ${rows.length} rows have no prediction yet; all of them are in Kafka: ask for them by their request ids, or send the same again`
  throw new HttpProblem(504, 'predictions_late', detail, { members, headers: { 'retry-after': retryAfter() } })
}
