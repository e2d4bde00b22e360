import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { type FaultProxy, randomFault, startFaultProxy } from '../support/fault-proxy.ts'
import { seededRandom } from '../support/seeded-random.ts'

interface Peer {
  readonly socket: Socket
  received(): string
  /** In how many pieces. */
  pieces(): number
  /** How the connection ended: undefined while it is open. */
  ended(): string | undefined
}

function peer(socket: Socket): Peer {
  const chunks: Buffer[] = []
  let ended: string | undefined
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', (error) => {
    ended = (error as NodeJS.ErrnoException).code
  })
  socket.on('close', () => {
    ended ??= 'closed'
  })
  return {
    socket,
    received: () => Buffer.concat(chunks).toString(),
    pieces: () => chunks.length,
    ended: () => ended,
  }
}

async function link(): Promise<{ proxy: FaultProxy; client: Peer; server: Peer }> {
  const accepted: Peer[] = []
  const listener = createServer((socket) => void accepted.push(peer(socket))).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const proxy = await startFaultProxy({ target: { port: (listener.address() as { port: number }).port } })
  const client = peer(connect({ host: '127.0.0.1', port: proxy.port }))
  onTestFinished(async () => {
    client.socket.destroy()
    await proxy.close()
    for (const { socket } of accepted) socket.destroy()
    listener.close()
  })
  client.socket.write('hello')
  const server = await soon(() => {
    const [first] = accepted
    if (first?.received() !== 'hello') throw new Error('nothing has arrived')
    return first
  })
  return { proxy, client, server }
}

const soon = <T>(condition: () => T): Promise<T> => eventually(condition, { deadlineMs: 30_000 })

test('without a fault bytes pass both ways, and an end is an end', async () => {
  const { proxy, client, server } = await link()
  server.socket.end('world')
  await soon(() => expect([client.received(), client.ended()]).toEqual(['world', 'closed']))
  await soon(() => expect(proxy.connections()).toBe(0))
  expect(proxy.passed).toEqual({ toServer: 5, toClient: 5 })
})

test('cut: so many bytes pass, then both ends are closed', async () => {
  const { proxy, client, server } = await link()
  proxy.inject({ kind: 'cut', direction: 'toServer', afterBytes: 4 })
  client.socket.write('ab')
  client.socket.write('cdef')
  await soon(() =>
    expect([server.received(), server.ended(), client.ended()]).toEqual(['helloabcd', 'closed', 'closed']),
  )
})

test('cut in the other direction: the request arrives whole, the answer in part', async () => {
  const { proxy, client, server } = await link()
  proxy.inject({ kind: 'cut', direction: 'toClient', afterBytes: 3 })
  client.socket.write('request')
  await soon(() => expect(server.received()).toBe('hellorequest'))
  server.socket.write('answer')
  await soon(() => expect([client.received(), client.ended()]).toEqual(['ans', 'closed']))
})

test('reset: both ends see RST', async () => {
  const { proxy, client, server } = await link()
  proxy.inject({ kind: 'reset', direction: 'toServer', afterBytes: 0 })
  client.socket.write('x')
  await soon(() => expect([client.ended(), server.ended()]).toEqual(['ECONNRESET', 'ECONNRESET']))
})

test('stall: one direction waits, the other does not, and nothing is lost', async () => {
  const { proxy, client, server } = await link()
  proxy.inject({ kind: 'stall', direction: 'toServer' })
  client.socket.write('later')
  server.socket.write('now')
  await soon(() => expect(client.received()).toBe('now'))
  expect(server.received()).toBe('hello')
  proxy.heal()
  await soon(() => expect(server.received()).toBe('hellolater'))
  expect(client.ended()).toBeUndefined()
})

test('drop of the answer: the request is carried out; the connection that lost it is reset by healing', async () => {
  const { proxy, client, server } = await link()
  proxy.inject({ kind: 'drop', direction: 'toClient' })
  client.socket.write('request')
  await soon(() => expect(server.received()).toBe('hellorequest'))
  server.socket.write('answer')
  server.socket.end()
  await soon(() => expect(client.ended()).toBe('closed'))
  expect(client.received()).toBe('')
})

test('half-open: one side is gone and the other learns of it only when the network is well again', async () => {
  const { proxy, client, server } = await link()
  proxy.inject({ kind: 'half-open', gone: 'server' })
  await soon(() => expect(server.ended()).toBe('closed'))
  client.socket.write('into nothing')
  await soon(() => expect(client.socket.writableLength).toBe(0))
  expect(client.ended()).toBeUndefined()
  proxy.heal()
  await soon(() => expect(client.ended()).toBe('ECONNRESET'))
})

test('slow: bytes trickle, all of them in order, also those that were sent before the end', async () => {
  const { proxy, client, server } = await link()
  proxy.inject({ kind: 'slow', direction: 'toServer', bytesPerSecond: 200 })
  const text = 'abcdefghij'.repeat(10)
  client.socket.end(text)
  await soon(() => expect([server.received(), server.ended()]).toEqual([`hello${text}`, 'closed']))
  // ten bytes each time
  expect(server.pieces()).toBeGreaterThan(5)
})

test('a fault holds for connections that come later, and a server that is away refuses', async () => {
  const { proxy } = await link()
  proxy.inject({ kind: 'cut', direction: 'toServer', afterBytes: 0 })
  const late = peer(connect({ host: '127.0.0.1', port: proxy.port }))
  late.socket.write('x')
  await soon(() => expect(late.ended()).toBeDefined())

  const nobody = await startFaultProxy({ target: { port: 1 } })
  const lost = peer(connect({ host: '127.0.0.1', port: nobody.port }))
  await soon(() => expect(lost.ended()).toBeDefined())
  await nobody.close()
})

test('a seed repeats its faults, and its forks do not depend on how far it has come', () => {
  const faults = (seed: number) => {
    const random = seededRandom(seed)
    return Array.from({ length: 50 }, () => randomFault(random))
  }
  expect(faults(7)).toEqual(faults(7))
  expect(faults(7)).not.toEqual(faults(8))
  expect(new Set(faults(7).map(({ kind }) => kind)).size).toBe(6)
  const used = seededRandom(7)
  used.next()
  expect(used.fork('a').next()).toBe(seededRandom(7).fork('a').next())
  expect(used.fork('a').next()).not.toBe(used.fork('b').next())
})
