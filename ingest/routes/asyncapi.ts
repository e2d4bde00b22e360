import { Type } from 'typebox'
import { readTopicContracts } from '../../infra/runtime/stage-contracts.ts'
import { asyncApi } from '../../schemas/asyncapi.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { HttpProblem } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { CREDENTIAL_PROBLEMS, problems } from '../http/schemas.ts'
import { callerOf, mayUse } from './own-pipeline.ts'

/**
 * `GET /asyncapi.json`: the pipeline's topics. Needs `read`, unlike the OpenAPI document: it holds the schema of the events, as
 * `GET /v1/pipelines/{pipeline}` does, and names topics.
 */
export function asyncapi(options: {
  readonly pipeline: CompiledPipeline
  readonly version: string
}): (app: Gateway) => Promise<void> {
  const { pipeline, version } = options
  return async (app) => {
    const text = JSON.stringify(asyncApi(pipeline, await readTopicContracts(), version))
    app.get(
      '/asyncapi.json',
      {
        config: { scope: 'read' },
        schema: {
          operationId: 'getAsyncApi',
          summary: "The pipeline's topics",
          tags: ['documents'],
          response: {
            200: {
              description: 'AsyncAPI 3.0: topics, keys, headers and Avro schemas, for whoever uses Kafka itself.',
              content: {
                'application/json': { schema: Type.Unsafe<string>({ type: 'object', additionalProperties: true }) },
              },
            },
            ...CREDENTIAL_PROBLEMS,
            ...problems(404),
          },
        },
      },
      async (request, reply) => {
        if (!mayUse(pipeline, callerOf(request))) throw new HttpProblem(404, 'not_found', 'there is no such document')
        return reply.type('application/json').send(text)
      },
    )
  }
}
