import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { expect, onTestFinished, test } from 'vitest'
import { createMetrics } from '../../infra/runtime/telemetry/metrics.ts'
import { requestsInFlight } from '../../ingest/plugins/in-flight.ts'
import { v1Predict } from '../../ingest/routes/v1-predict.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { type BareGateway, MIB, startBareGateway } from '../support/bare-gateway.ts'
import { eventually } from '../support/eventually.ts'
import { FLIGHTS } from '../support/pipeline-copy.ts'
import { principal } from '../support/principals.ts'
import { open } from '../support/raw-http.ts'

// What is kept for a request is given back when its client goes, whatever the gateway was doing then.

const HEAD = 'POST /bytes HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer x\r\ncontent-type: application/json\r\n'
const DEADLINE = { deadlineMs: 30_000 }

async function connections({ app }: BareGateway): Promise<number> {
  return new Promise((resolve, reject) =>
    app.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  )
}

/** Something that requests wait in until they are told to go on. */
function createDoor() {
  const { promise, resolve } = Promise.withResolvers<void>()
  let waiting = 0
  return {
    waiting: () => waiting,
    pass: (): Promise<void> => {
      waiting++
      return promise
    },
    open: resolve,
  }
}

async function send(port: number, text: string | Buffer): Promise<Socket> {
  const socket = await open(port)
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => socket.destroy())
  await new Promise<void>((resolve) => socket.write(text, () => resolve()))
  return socket
}

test('the room of a compressed body is given back though its sender goes while it is decoded', async () => {
  const gateway = await startBareGateway({ bodies: { maxBodyBytes: 16 * MIB } })
  const parts = Array.from({ length: 100 }, () => [randomBytes(450), Buffer.alloc(100_000)]).flat()
  const body = gzipSync(Buffer.concat(parts))
  const request = Buffer.concat([
    Buffer.from(`${HEAD}content-encoding: gzip\r\ncontent-length: ${body.length}\r\n\r\n`),
    body,
  ])
  for (let cut = 0; cut < 10; cut++) {
    const socket = await send(gateway.port, request)
    await eventually(() => expect(gateway.held.bytes() > 0 || gateway.receivedBytes.length > cut).toBe(true), DEADLINE)
    socket.destroy()
    await eventually(() => expect(gateway.receivedBytes).toHaveLength(cut + 1), DEADLINE)
  }
  await eventually(async () => expect(await connections(gateway)).toBe(0), DEADLINE)
  await eventually(() => expect(gateway.held.bytes()).toBe(0), DEADLINE)
})

test('a client that goes while its credential is looked at leaves no place taken, and its request ends', async () => {
  const door = createDoor()
  const metrics = createMetrics({ stage: 'ingest' })
  const gateway = await startBareGateway({
    app: {
      access: {
        async admit() {
          await door.pass()
          return { ok: true, principal: principal('someone') }
        },
      },
    },
    plugins: [requestsInFlight(metrics)],
  })
  const bodies = [
    'content-length: 2\r\n\r\n{}',
    'content-length: 900\r\n\r\n{',
    'content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}',
    'transfer-encoding: chunked\r\n\r\n1\r\n{\r\n',
  ]
  const sockets = await Promise.all(bodies.map((body) => send(gateway.port, HEAD + body)))
  await eventually(() => expect(door.waiting()).toBe(bodies.length), DEADLINE)
  for (const socket of sockets) socket.destroy()
  await eventually(async () => expect(await connections(gateway)).toBe(0), DEADLINE)
  door.open()
  await eventually(() => expect(gateway.receivedBytes).toHaveLength(bodies.length), DEADLINE)
  expect(gateway.reached).toEqual([])
  await eventually(() => expect(gateway.inside()).toBe(0), DEADLINE)
  await eventually(
    async () => expect((await metrics.expose()).text).toMatch(/^millrace_gateway_requests_in_flight\{[^}]*\} 0$/m),
    DEADLINE,
  )
})

test('nobody waits for a prediction whose client went while its event was brought in', async () => {
  const door = createDoor()
  const aborted: boolean[] = []
  const pipeline = await loadPipeline(FLIGHTS)
  const admission = { ok: true, principal: principal('someone', {}, { tenant: 'default' }) } as const
  const gateway = await startBareGateway({
    app: { access: { admit: async () => admission } },
    plugins: [
      v1Predict({
        pipeline,
        limits: {
          take: async () => ({ ok: true, standings: [], retryAfterSeconds: 0 }),
          giveBack: async () => {},
          enter: () => () => {},
        },
        reader: { read: () => ({ items: [{ ok: true, value: Buffer.alloc(1), key: null, id: 'a' }], several: false }) },
        intake: {
          async submit() {
            await door.pass()
            return [{ ok: true, requestId: `${pipeline.name}.20130315.3.18211`, id: 'a', repeated: false }]
          },
          backlog: () => ({ bytes: 0, oldestMs: 0 }),
        },
        answers: {
          find: async () => ({ state: 'pending' }),
          async wait(_id, _tenant, signal) {
            aborted.push(signal.aborted)
            return { state: 'pending' }
          },
        },
        waitMs: 60_000,
        headersOf: () => ({}),
      }),
    ],
  })
  const head = HEAD.replace('/bytes', `/v1/pipelines/${pipeline.name}/predict`)
  const socket = await send(gateway.port, `${head}content-length: 2\r\n\r\n{}`)
  await eventually(() => expect(door.waiting()).toBe(1), DEADLINE)
  socket.destroy()
  await eventually(async () => expect(await connections(gateway)).toBe(0), DEADLINE)
  door.open()
  await eventually(() => expect(aborted).toEqual([true]), DEADLINE)
})
