import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { describeError } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import { HttpProblem, problemOf } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { type V2HealthDeps, v2Health } from './v2-health.ts'
import { type V2ModelDeps, v2Models } from './v2-models.ts'

/**
 * The pipeline as the Open Inference Protocol (KServe, Triton) has it, on the same core as v1: what is inferred here is an event in
 * Kafka like any other. Errors have the protocol's shape, `{"error": "…"}`.
 */
export function v2(deps: V2HealthDeps & V2ModelDeps & { readonly logger: Logger }): (app: Gateway) => Promise<void> {
  const { logger } = deps
  return async (app) => {
    await app.register(
      async (child) => {
        // Triton's client names no content type
        child.addHook('onRequest', async ({ headers }) => {
          headers['content-type'] ??= 'application/octet-stream'
        })
        child.setErrorHandler((error, request, reply) => {
          const problem = problemOf(error)
          if (problem.status === 500) {
            logger.error({ ...describeError(error), route: request.routeOptions.url }, 'request failed')
          }
          return reply
            .code(problem.status)
            .headers(problem.headers)
            .type('application/json')
            .send(JSON.stringify({ error: `${problem.code}: ${problem.message}`, ...problem.members }))
        })
        child.setNotFoundHandler((request) => {
          throw new HttpProblem(404, 'not_found', `there is no ${request.method} ${request.url.split('?')[0]}`)
        })
        const routes = child.withTypeProvider<TypeBoxTypeProvider>()
        v2Health(deps)(routes)
        v2Models(deps)(routes)
      },
      { prefix: '/v2' },
    )
  }
}
