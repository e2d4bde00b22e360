import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { whenClosed } from './when-closed.ts'

/** The connections of a server, and which of them have a request that is not answered. */
export interface Connections {
  opened(socket: Socket): void
  /** A request of its connection has come, its headers at least. */
  began(request: IncomingMessage, response: ServerResponse): void
  isBusy(socket: Socket): boolean
  /** Closes those that are not busy: nothing has come over them, or a part of the headers, or the requests that came are answered. */
  closeIdle(): void
}

export function createConnections(): Connections {
  /** Requests that are not answered. */
  const running = new Map<Socket, number>()
  const add = (socket: Socket, change: number): void => {
    const before = running.get(socket)
    if (before !== undefined) running.set(socket, before + change)
  }
  return {
    opened(socket) {
      running.set(socket, 0)
      socket.once('close', () => running.delete(socket))
    },
    began({ socket }, response) {
      add(socket, 1)
      whenClosed(response, () => add(socket, -1))
    },
    isBusy: (socket) => (running.get(socket) ?? 0) > 0,
    closeIdle() {
      for (const [socket, requests] of running) if (requests === 0) socket.destroy()
    },
  }
}
