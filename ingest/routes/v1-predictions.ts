import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { parseRequestId } from '../../schemas/request-id.ts'
import type { Answers, PredictionView } from '../answers/answers.ts'
import { HttpProblem } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { CREDENTIAL_PROBLEMS, Ended, Pending, problems, RequestIdParams } from '../http/schemas.ts'
import { callerOf, mayUse } from './own-pipeline.ts'

/** Worth another look, seconds. */
const LOOK_AGAIN = '1'

/**
 * `GET /v1/predictions/{request_id}`: how an event ended. A rejected event is no failure of this request: 200, with its reason. (Whoever
 * waits for the prediction in the request that brings the event gets 422.)
 */
export function v1Predictions(deps: {
  readonly pipeline: CompiledPipeline
  readonly answers: Answers
  readonly headersOf: (prediction: PredictionView) => Readonly<Record<string, string>>
}): (app: Gateway) => void {
  const { pipeline, answers, headersOf } = deps
  return (app) => {
    app.get(
      '/v1/predictions/:request_id',
      {
        config: { scope: 'read' },
        schema: {
          operationId: 'getPrediction',
          summary: 'Ask for a prediction',
          tags: ['predictions'],
          params: RequestIdParams,
          response: {
            200: { description: 'The event has ended.', content: { 'application/json': { schema: Ended } } },
            202: {
              description: 'The event has not ended yet; ask again after Retry-After.',
              content: { 'application/json': { schema: Pending } },
            },
            ...CREDENTIAL_PROBLEMS,
            ...problems(400, 404, 410),
          },
        },
      },
      async (request, reply) => {
        const principal = callerOf(request)
        const { request_id } = request.params
        const id = parseRequestId(request_id)
        if (id === null || id.pipeline !== pipeline.name || !mayUse(pipeline, principal)) throw unknown()
        const answer = await answers.find(id, principal.tenant)
        switch (answer.state) {
          case 'predicted':
            return reply.code(200).headers(headersOf(answer.prediction)).send(answer)
          case 'rejected':
            return reply.code(200).send(answer)
          case 'pending':
            return reply.code(202).header('retry-after', LOOK_AGAIN).send({ state: 'pending', request_id })
          case 'expired':
            throw new HttpProblem(410, 'expired', 'answers to events of that day are kept no longer')
          case 'unknown':
            throw unknown()
        }
      },
    )
  }
}

function unknown(): HttpProblem {
  return new HttpProblem(404, 'unknown_request', 'there is no such event')
}
