import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { HttpProblem, problemBody } from './problem.ts'

/** What is said to a connection whose bytes are no request, so that no route and no hook sees it. */
export interface ClientErrors {
  /** A request of the connection is being answered. */
  began(request: IncomingMessage, response: ServerResponse): void
  /** Answers and closes. While a request before it is not answered it only closes: the answer would be taken for that one's. */
  refuse(error: { readonly code?: string }, socket: Socket): void
}

export function createClientErrors(): ClientErrors {
  const busy = new WeakMap<Socket, number>()
  return {
    began({ socket }, response) {
      busy.set(socket, (busy.get(socket) ?? 0) + 1)
      response.once('close', () => busy.set(socket, (busy.get(socket) ?? 1) - 1))
    },
    refuse(error, socket) {
      if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return
      if ((busy.get(socket) ?? 0) > 0) {
        socket.destroy()
        return
      }
      const problem = problemOfCode(error.code)
      const body = JSON.stringify(problemBody(problem, ''))
      socket.end(
        `HTTP/1.1 ${problem.status} ${problem.code}\r\ncontent-type: application/problem+json\r\n` +
          `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
        () => socket.destroy(),
      )
    },
  }
}

function problemOfCode(code: string | undefined): HttpProblem {
  if (code === 'HPE_HEADER_OVERFLOW') return new HttpProblem(431, 'headers_too_large', 'the headers are too large')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new HttpProblem(408, 'request_timeout', 'the request took too long')
  return new HttpProblem(400, 'bad_request', 'this is not an HTTP request')
}
