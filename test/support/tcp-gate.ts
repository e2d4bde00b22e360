import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { freePorts } from '../../infra/local/ports.ts'

/** A way to a server that can be shut, so that a test takes away what it does not own. */
export interface TcpGate {
  readonly port: number
  /** Open connections are cut, new ones refused. */
  shut(): Promise<void>
  open(): Promise<void>
  /** Connections stay, and nothing comes through any more until the gate is shut. */
  stall(): void
  close(): Promise<void>
}

export async function openTcpGate(target: { readonly host: string; readonly port: number }): Promise<TcpGate> {
  const sockets = new Set<Socket>()
  let stalled = false
  const server = createServer((inner) => {
    const outer = connect(target)
    for (const [socket, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.add(socket)
      socket.on('data', (data) => {
        if (!stalled) other.write(data)
      })
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
  })

  const [port = 0] = await freePorts(1)
  async function open(): Promise<void> {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }

  async function shut(): Promise<void> {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
    stalled = false
  }

  await open()
  return {
    port,
    shut,
    open,
    stall() {
      stalled = true
    },
    close: shut,
  }
}
