import type { FastifyReply, FastifyRequest } from 'fastify'
import { problemBody, problemOf } from './problem.ts'

/** For what Fastify refuses before there is a route (a path that is no URL, a parameter that is too long). */
export function answerFrameworkError(error: Error, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemOf(error)
  const isV2 = request.url.startsWith('/v2/')
  const body = isV2 ? { error: `${problem.code}: ${problem.message}` } : problemBody(problem, request.url)
  reply
    .code(problem.status)
    .headers(problem.headers)
    .type(isV2 ? 'application/json' : 'application/problem+json')
    .send(JSON.stringify(body))
}
