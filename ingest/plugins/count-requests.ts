import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Gateway } from '../http/request.ts'
import { whenClosed } from '../http/when-closed.ts'
import type { UsageMeter } from '../usage/usage.ts'

/**
 * Counts every request once, when it has ended on both sides: its answer was made, and it was sent or nobody is there any more to take
 * it. So what a client that was cut has brought into Kafka counts, too, with the status that it would have been told.
 */
export function countRequests(usage: UsageMeter): (app: Gateway) => void {
  const count = (request: FastifyRequest, reply: FastifyReply): void =>
    usage.served({
      route: request.routeOptions.url ?? 'none',
      method: request.method,
      tenant: request.principal?.tenant ?? null,
      status: reply.statusCode,
      requestBytes: request.receivedBytes,
      responseBytes: Number(reply.getHeader('content-length') ?? 0),
      events: request.acceptedEvents,
      tookMs: reply.elapsedTime,
    })
  return (app) => {
    const answered = new WeakSet<FastifyRequest>()
    app.addHook('onRequest', (request, reply, done) => {
      whenClosed(reply.raw, () => {
        // a stream has taken the answer into its own hands
        if (answered.has(request) || reply.sent) count(request, reply)
      })
      done()
    })
    app.addHook('onSend', async (request, reply) => {
      if (answered.has(request)) return
      answered.add(request)
      if (reply.raw.closed || reply.raw.destroyed) count(request, reply)
    })
  }
}
