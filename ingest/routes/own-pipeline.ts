import type { FastifyRequest } from 'fastify'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import type { Principal } from '../access/access.ts'
import { HttpProblem } from '../http/problem.ts'

/** Whoever asks for another pipeline than this gateway's, or one that is another tenant's, is told that there is none. */
export function ownPipeline(pipeline: CompiledPipeline): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    const { pipeline: name } = request.params as { readonly pipeline?: string }
    const isForeign = !mayUse(pipeline, callerOf(request))
    if (name !== pipeline.name || isForeign) throw new HttpProblem(404, 'not_found', 'there is no such pipeline')
  }
}

/** A pipeline whose events all belong to one tenant is nothing to the others. */
export function mayUse({ event: { tenant } }: CompiledPipeline, principal: Principal): boolean {
  return !('fixed' in tenant) || tenant.fixed === principal.tenant
}

export function callerOf(request: FastifyRequest): Principal {
  if (request.principal === null) throw new Error('the route asks for no credential')
  return request.principal
}
