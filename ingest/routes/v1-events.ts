import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { recordSchema } from '../http/event-schema.ts'
import type { Gateway } from '../http/request.ts'
import {
  AcceptedMany,
  AcceptedOne,
  BODY_PROBLEMS,
  CREDENTIAL_PROBLEMS,
  IntakeHeaders,
  PipelineParams,
  problems,
} from '../http/schemas.ts'
import type { Accepted } from '../intake/intake.ts'
import { ownPipeline } from './own-pipeline.ts'
import { answerOfMany, documentedBody, type SubmissionDeps, submitBody } from './submission.ts'

const MAX_EVENTS = 1_000

/** `POST /v1/pipelines/{pipeline}/events`: 202 once they are in Kafka; 207 when some are refused. */
export function v1Events(
  deps: Omit<SubmissionDeps, 'maxEvents' | 'keyBecomesId'> & { readonly pipeline: CompiledPipeline },
): (app: Gateway) => void {
  const { pipeline } = deps
  const { event, http } = pipeline
  const record = recordSchema('Event', event.schema, { madeUp: event.idField, mapping: http })
  const submission: SubmissionDeps = { ...deps, maxEvents: MAX_EVENTS, keyBecomesId: true }
  return (app) => {
    app.post(
      '/v1/pipelines/:pipeline/events',
      {
        config: {
          scope: 'ingest',
          documentedBody: documentedBody(`An event, or up to ${MAX_EVENTS} of them.`, MAX_EVENTS, record),
        },
        onRequest: ownPipeline(pipeline),
        schema: {
          operationId: 'sendEvents',
          summary: 'Bring events in',
          tags: ['events'],
          params: PipelineParams,
          headers: IntakeHeaders,
          response: {
            202: {
              description: 'All are in Kafka. One event is answered by itself, with the Location of its prediction.',
              content: {
                'application/json': { schema: { anyOf: [AcceptedOne, AcceptedMany] } },
              },
            },
            207: {
              description: 'Some are in Kafka, others were refused.',
              content: { 'application/json': { schema: AcceptedMany } },
            },
            ...CREDENTIAL_PROBLEMS,
            ...BODY_PROBLEMS,
            ...problems(404, 422),
          },
        },
      },
      async (request, reply) => {
        const { results, several } = await submitBody(request, reply, submission)
        const [first] = results
        if (!several && first?.ok === true) {
          if (first.requestId !== null) reply.header('location', predictionPath(first.requestId))
          return reply.code(202).send(acceptedBody(first))
        }
        const { status, body } = answerOfMany(results, acceptedBody)
        return reply.code(status).send(body)
      },
    )
  }
}

export function predictionPath(requestId: string): string {
  return `/v1/predictions/${requestId}`
}

function acceptedBody({ requestId, id, repeated }: Extract<Accepted, { ok: true }>): AcceptedOne {
  return { request_id: requestId, event_id: id, repeated }
}
