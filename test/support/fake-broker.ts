import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { wireWriter } from '../../infra/runtime/kafka/protocol/wire.ts'

export interface AskedRequest {
  readonly apiKey: number
  readonly apiVersion: number
  readonly correlationId: number
  readonly body: Buffer
  readonly socket: Socket
}

/** The bytes after the correlation id; null = no answer. With `send`, the whole frame is sent as that likes. */
export type FakeAnswer = Buffer | null | { readonly body: Buffer; send(frame: Buffer, socket: Socket): void }

/** Speaks the framing of the Kafka protocol, and answers what the test says. */
export interface FakeBroker {
  readonly port: number
  readonly address: string
  /** In the order in which they came. */
  readonly asked: readonly AskedRequest[]
  /** Connections ever made. */
  connections(): number
  /** Of those, the ones still open. */
  open(): number
  close(): Promise<void>
}

export const API = { fetch: 1, listOffsets: 2, metadata: 3, findCoordinator: 10, apiVersions: 18 } as const

export async function startFakeBroker(
  answer: (request: AskedRequest) => FakeAnswer | Promise<FakeAnswer>,
): Promise<FakeBroker> {
  const asked: AskedRequest[] = []
  const sockets = new Set<Socket>()
  let made = 0
  const server = createServer({ noDelay: true }, (socket) => {
    made++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    // the other end goes when it likes
    socket.on('error', () => socket.destroy())
    let bytes = Buffer.alloc(0)
    let turn = Promise.resolve()
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
        const end = 4 + bytes.readInt32BE(0)
        const request = parse(bytes.subarray(4, end), socket)
        bytes = bytes.subarray(end)
        asked.push(request)
        turn = turn.then(async () => respond(request, await answer(request)))
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server has no port')
  return {
    port: address.port,
    address: `127.0.0.1:${address.port}`,
    asked,
    connections: () => made,
    open: () => sockets.size,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function parse(frame: Buffer, socket: Socket): AskedRequest {
  const clientIdBytes = Math.max(0, frame.readInt16BE(8))
  const body = Buffer.from(frame.subarray(10 + clientIdBytes))
  return {
    apiKey: frame.readInt16BE(0),
    apiVersion: frame.readInt16BE(2),
    correlationId: frame.readInt32BE(4),
    body,
    socket,
  }
}

function respond({ correlationId, socket }: AskedRequest, answer: FakeAnswer): void {
  if (answer === null || socket.writableEnded) return
  const body = Buffer.isBuffer(answer) ? answer : answer.body
  const frame = wireWriter()
    .int32(4 + body.length)
    .int32(correlationId)
    .raw(body)
    .end()
  if (Buffer.isBuffer(answer)) socket.write(frame)
  else answer.send(frame, socket)
}

/** ApiVersions 3: each API in versions 0 to `max`. */
export function apiVersionsAnswer(
  max: Readonly<Record<number, number>> = {},
  metadataVersion: number | null = null,
): Buffer {
  const writer = wireWriter()
    .int16(0)
    .compactArray(
      Array.from({ length: 70 }, (_, key) => key),
      (key, entry) =>
        entry
          .int16(key)
          .int16(0)
          .int16(max[key] ?? 99)
          .noTags(),
    )
    .int32(0)
  if (metadataVersion === null) return writer.noTags().end()
  const feature = wireWriter()
    .compactArray([metadataVersion], (level, entry) =>
      entry.compactString('metadata.version').int16(level).int16(1).noTags(),
    )
    .end()
  return writer.int8(1).int8(2).int8(feature.length).raw(feature).end()
}

export interface FakeTopic {
  readonly name: string
  readonly error?: number
  /** Leaders by partition. */
  readonly leaders?: readonly number[]
}

/** Metadata 10. */
export function metadataAnswer(
  brokers: readonly { readonly node: number; readonly port: number }[],
  topics: readonly FakeTopic[] = [],
): Buffer {
  return wireWriter()
    .noTags()
    .int32(0)
    .compactArray(brokers, ({ node, port }, entry) =>
      entry.int32(node).compactString('127.0.0.1').int32(port).compactString(null).noTags(),
    )
    .compactString('cluster')
    .int32(1)
    .compactArray(topics, ({ name, error = 0, leaders = [] }, entry) =>
      entry
        .int16(error)
        .compactString(name)
        .uuid('00010203-0405-0607-0809-0a0b0c0d0e0f')
        .boolean(false)
        .compactArray([...leaders.entries()], ([partition, leader], item) =>
          item
            .int16(0)
            .int32(partition)
            .int32(leader)
            .int32(3)
            .compactArray([leader], (node, list) => list.int32(node))
            .compactArray([leader], (node, list) => list.int32(node))
            .compactArray<number>([], (node, list) => list.int32(node))
            .noTags(),
        )
        .int32(-1)
        .noTags(),
    )
    .int32(-1)
    .noTags()
    .end()
}
