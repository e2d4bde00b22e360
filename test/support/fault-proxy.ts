import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { SeededRandom } from './seeded-random.ts'

export type Direction = 'toServer' | 'toClient'

/**
 *   cut        after so many more bytes of the direction both ends are closed, as by a process that ended
 *   reset      the same with RST, which throws away what is on its way
 *   stall      bytes of the direction wait; they arrive after `heal`
 *   drop       bytes of the direction disappear: with `toClient`, the request is carried out and its answer is lost
 *   half-open  one side is gone and the other is not told: what it sends disappears
 *   slow       so many bytes a second
 */
export type Fault =
  | { readonly kind: 'cut' | 'reset'; readonly direction: Direction; readonly afterBytes: number }
  | { readonly kind: 'stall' | 'drop'; readonly direction: Direction }
  | { readonly kind: 'half-open'; readonly gone: 'client' | 'server' }
  | { readonly kind: 'slow'; readonly direction: Direction; readonly bytesPerSecond: number }

/** Stands in the way of one connection and sees every byte, before any fault; sends what it likes. */
export interface Relay {
  fromClient(chunk: Buffer): void
  fromServer(chunk: Buffer): void
}

/** A way to one server that fails as it is told to. */
export interface FaultProxy {
  readonly port: number
  /** Open connections. */
  connections(): number
  /** Bytes that were passed on since the start. */
  readonly passed: Readonly<Record<Direction, number>>
  /** For all connections, open ones and new ones, until `heal`; takes the place of an earlier fault. Bytes count from now. */
  inject(fault: Fault): void
  /** What waits is passed on; a connection that has lost bytes is reset, because its two ends no longer agree. */
  heal(): void
  close(): Promise<void>
}

const LOOPBACK = '127.0.0.1'
const SLICES_A_SECOND = 20

interface Link {
  inject(fault: Fault | null): void
  destroy(): void
}

export async function startFaultProxy(options: {
  readonly target: { readonly host?: string; readonly port: number }
  /** 0 or absent = any free one. */
  readonly port?: number
  readonly relay?: (send: (direction: Direction, bytes: Buffer) => void) => Relay
}): Promise<FaultProxy> {
  const { host = LOOPBACK, port } = options.target
  const links = new Set<Link>()
  const passed = { toServer: 0, toClient: 0 }
  let fault: Fault | null = null

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ host, port, noDelay: true })
    const link = openLink(client, upstream, passed, options.relay, () => links.delete(link))
    links.add(link)
    link.inject(fault)
  })
  server.listen(options.port ?? 0, LOOPBACK)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server has no port')

  return {
    port: address.port,
    passed,
    connections: () => links.size,
    inject(next) {
      fault = next
      for (const link of links) link.inject(next)
    },
    heal() {
      fault = null
      for (const link of links) link.inject(null)
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const link of links) link.destroy()
      await closed
    },
  }
}

function openLink(
  client: Socket,
  upstream: Socket,
  passed: Record<Direction, number>,
  relay: ((send: (direction: Direction, bytes: Buffer) => void) => Relay) | undefined,
  onClose: () => void,
): Link {
  let fault: Fault | null = null
  let lostBytes = false
  const destroy = (): void => {
    client.destroy()
    upstream.destroy()
  }
  const reset = (): void => {
    client.resetAndDestroy()
    upstream.resetAndDestroy()
  }
  const pipes = {
    toServer: createPipe(client, upstream, (bytes) => gate('toServer', bytes)),
    toClient: createPipe(upstream, client, (bytes) => gate('toClient', bytes)),
  }
  const through = relay?.((direction, bytes) => pipes[direction].push(bytes))
  client.on('data', (chunk: Buffer) => (through ? through.fromClient(chunk) : pipes.toServer.push(chunk)))
  upstream.on('data', (chunk: Buffer) => (through ? through.fromServer(chunk) : pipes.toClient.push(chunk)))

  /** How many of the bytes may go now, and when to ask about the others; undefined = they are gone. */
  let budget = 0
  function gate(direction: Direction, bytes: number): Passage {
    if (fault === null) return count(direction, bytes)
    if (fault.kind === 'half-open') return discard(bytes)
    if (fault.direction !== direction) return count(direction, bytes)
    switch (fault.kind) {
      case 'stall':
        return { pass: 0, discard: 0, waitMs: null }
      case 'drop':
        return discard(bytes)
      case 'slow': {
        const pass = Math.max(1, Math.floor(fault.bytesPerSecond / SLICES_A_SECOND))
        return { ...count(direction, Math.min(pass, bytes)), waitMs: 1_000 / SLICES_A_SECOND }
      }
      case 'cut':
      case 'reset': {
        const { kind } = fault
        if (bytes < budget) {
          budget -= bytes
          return count(direction, bytes)
        }
        return { ...count(direction, budget), waitMs: null, after: kind === 'cut' ? end : reset }
      }
    }
  }
  function count(direction: Direction, pass: number): Passage {
    passed[direction] += pass
    return { pass, discard: 0, waitMs: 0 }
  }
  function discard(bytes: number): Passage {
    lostBytes = true
    return { pass: 0, discard: bytes, waitMs: 0 }
  }
  /** What was written before still arrives. */
  function end(): void {
    client.destroySoon()
    upstream.destroySoon()
  }

  let open = 2
  for (const [side, socket, pipe] of [
    ['client', client, pipes.toServer],
    ['server', upstream, pipes.toClient],
  ] as const) {
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      const untold = fault?.kind === 'half-open' && fault.gone === side
      if (untold) lostBytes = true
      else pipe.finish()
      open--
      if (open === 0) onClose()
    })
  }
  return {
    inject(next) {
      fault = next
      if (next === null && lostBytes) return reset()
      if (next?.kind === 'cut' || next?.kind === 'reset') budget = next.afterBytes
      if (next?.kind === 'half-open') (next.gone === 'client' ? client : upstream).destroy()
      pipes.toServer.flush()
      pipes.toClient.flush()
    },
    destroy,
  }
}

interface Passage {
  readonly pass: number
  readonly discard: number
  /** When to ask about the rest; null = when something changes. */
  readonly waitMs: number | null
  /** Once the bytes are written. */
  readonly after?: () => void
}

/** Bytes in one direction, in order, as many at a time as the gate lets through. */
function createPipe(from: Socket, to: Socket, gate: (bytes: number) => Passage) {
  const waiting: Buffer[] = []
  let timer: NodeJS.Timeout | undefined
  let finished = false
  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    for (let head = waiting[0]; head !== undefined && !to.destroyed; head = waiting[0]) {
      const { pass, discard, waitMs, after } = gate(head.length)
      if (pass > 0) to.write(head.subarray(0, pass))
      const rest = head.subarray(pass + discard)
      if (rest.length === 0) waiting.shift()
      else waiting[0] = rest
      after?.()
      if (waitMs === null || after !== undefined) break
      if (waitMs > 0) {
        timer = setTimeout(flush, waitMs)
        break
      }
    }
    if (to.destroyed) waiting.length = 0
    if (finished && waiting.length === 0) to.destroySoon()
    if (waiting.length > 0 || to.writableNeedDrain) from.pause()
    else from.resume()
  }
  to.on('drain', () => {
    if (timer === undefined) flush()
  })
  to.on('close', () => clearTimeout(timer))
  return {
    push(bytes: Buffer): void {
      waiting.push(bytes)
      if (timer === undefined) flush()
    },
    flush,
    /** Nothing more will come: the other side ends once it has everything. */
    finish(): void {
      finished = true
      if (waiting.length === 0) to.destroySoon()
    },
  }
}

/** A fault of any kind, anywhere in the first 64 KiB. */
export function randomFault(random: SeededRandom): Fault {
  const direction = random.pick(['toServer', 'toClient'] as const)
  const kind = random.pick(['cut', 'reset', 'stall', 'drop', 'half-open', 'slow'] as const)
  switch (kind) {
    case 'cut':
    case 'reset':
      return { kind, direction, afterBytes: random.between(0, 65_536) }
    case 'stall':
    case 'drop':
      return { kind, direction }
    case 'half-open':
      return { kind, gone: random.pick(['client', 'server'] as const) }
    case 'slow':
      return { kind, direction, bytesPerSecond: random.between(2_000, 200_000) }
  }
}
