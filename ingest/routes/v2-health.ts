import { Type } from 'typebox'
import { retryAfter } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'

export interface V2HealthDeps {
  /** Of the package. */
  readonly version: string
  /** Null when the gateway does its work. */
  readonly problem: () => string | null
}

/** `Triton` and KServe look at the status alone. */
export const Health = Type.Object({}, { additionalProperties: true, title: 'HealthV2' })

const ServerMetadata = Type.Object(
  { name: Type.String(), version: Type.String(), extensions: Type.Array(Type.String()) },
  { title: 'ServerMetadata' },
)

export function v2Health({ version, problem }: V2HealthDeps): (app: Gateway) => void {
  return (app) => {
    const config = { scope: 'public' } as const
    app.get(
      '/health/live',
      {
        config,
        schema: {
          operationId: 'v2Live',
          summary: 'Whether the process runs',
          tags: ['v2'],
          response: { 200: { description: 'It does.', content: { 'application/json': { schema: Health } } } },
        },
      },
      async () => ({ live: true }),
    )
    app.get(
      '/health/ready',
      {
        config,
        schema: {
          operationId: 'v2Ready',
          summary: 'Whether requests should be sent here',
          tags: ['v2'],
          response: {
            200: { description: 'They should.', content: { 'application/json': { schema: Health } } },
            503: { description: 'Not now.', content: { 'application/json': { schema: Health } } },
          },
        },
      },
      async (_request, reply) => {
        const ready = problem() === null
        if (!ready) reply.header('retry-after', retryAfter())
        return reply.code(ready ? 200 : 503).send({ ready })
      },
    )
    app.get(
      '',
      {
        config,
        schema: {
          operationId: 'v2Server',
          summary: 'What this server is',
          tags: ['v2'],
          response: {
            200: { description: 'Name and extensions.', content: { 'application/json': { schema: ServerMetadata } } },
          },
        },
      },
      async () => ({ name: 'millrace', version, extensions: ['binary_tensor_data'] }),
    )
  }
}
