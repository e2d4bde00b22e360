import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { recordSchema } from '../http/event-schema.ts'
import type { Gateway } from '../http/request.ts'
import {
  BODY_PROBLEMS,
  CREDENTIAL_PROBLEMS,
  IntakeHeaders,
  LabelAccepted,
  LabelsAccepted,
  PipelineParams,
  problems,
} from '../http/schemas.ts'
import type { Accepted } from '../intake/intake.ts'
import { ownPipeline } from './own-pipeline.ts'
import { answerOfMany, documentedBody, type SubmissionDeps, submitBody } from './submission.ts'

const MAX_LABELS = 1_000

/** `POST /v1/pipelines/{pipeline}/labels`: 202 once they are in Kafka. Of several labels of one event the last one counts; one without a truth withdraws it. */
export function v1Labels(
  deps: Omit<SubmissionDeps, 'maxEvents' | 'keyBecomesId'> & { readonly pipeline: CompiledPipeline },
): (app: Gateway) => void {
  const { pipeline } = deps
  const { label } = pipeline
  const record = label === null ? {} : recordSchema('Label', label.schema, { madeUp: null, mapping: null })
  const submission: SubmissionDeps = { ...deps, maxEvents: MAX_LABELS, keyBecomesId: false }
  return (app) => {
    app.post(
      '/v1/pipelines/:pipeline/labels',
      {
        config: {
          scope: 'label',
          documentedBody: documentedBody(describeBody(label?.withdrawable === true), MAX_LABELS, record),
        },
        onRequest: ownPipeline(pipeline),
        schema: {
          operationId: 'sendLabels',
          summary: 'Bring labels in',
          tags: ['labels'],
          params: PipelineParams,
          headers: IntakeHeaders,
          response: {
            202: {
              description: 'All are in Kafka. One label is answered by itself.',
              content: { 'application/json': { schema: { anyOf: [LabelAccepted, LabelsAccepted] } } },
            },
            207: {
              description: 'Some are in Kafka, others were refused.',
              content: { 'application/json': { schema: LabelsAccepted } },
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
          return reply.code(202).send(acceptedBody(first))
        }
        const { status, body } = answerOfMany(results, acceptedBody)
        return reply.code(status).send(body)
      },
    )
  }
}

function describeBody(withdrawable: boolean): string {
  const withdrawal = ' One without a truth, whose field for it is null, withdraws what was said of its event before.'
  return `A label, or up to ${MAX_LABELS} of them. Of several of one event the last one counts.${withdrawable ? withdrawal : ''}`
}

function acceptedBody({ id, repeated }: Extract<Accepted, { ok: true }>) {
  return { event_id: id, repeated }
}
