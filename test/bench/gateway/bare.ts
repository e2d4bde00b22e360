import type { AddressInfo } from 'node:net'
import fastify from 'fastify'

/** A route that parses JSON and does nothing with it: what the gateway is measured against. Prints its port. */
const app = fastify({ bodyLimit: 8_388_608 })
app.post('/v1/pipelines/flights/events', async (_request, reply) => reply.code(202).send({ accepted: true }))
await app.listen({ host: '127.0.0.1', port: 0 })
process.once('SIGTERM', () => void app.close())
const { port } = app.server.address() as AddressInfo
process.stdout.write(`${JSON.stringify({ port })}\n`)
