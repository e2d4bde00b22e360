import { Type } from 'typebox'
import type { Gateway } from '../http/request.ts'

const State = Type.Object({ ok: Type.Boolean() }, { title: 'State' })

/** `/live` and `/ready` for load balancers; they say no more than that, as anybody may ask. The ops port says why. */
export function health(deps: {
  /** Null when the gateway does its work. */
  readonly problem: () => string | null
}): (app: Gateway) => void {
  return (app) => {
    app.get(
      '/live',
      {
        config: { scope: 'public' },
        schema: {
          operationId: 'live',
          summary: 'Whether the process runs',
          tags: ['health'],
          response: { 200: State },
        },
      },
      async () => ({ ok: true }),
    )
    app.get(
      '/ready',
      {
        config: { scope: 'public' },
        schema: {
          operationId: 'ready',
          summary: 'Whether requests should be sent here',
          tags: ['health'],
          response: { 200: State, 503: State },
        },
      },
      async (_request, reply) => {
        const ok = deps.problem() === null
        return reply.code(ok ? 200 : 503).send({ ok })
      },
    )
  }
}
