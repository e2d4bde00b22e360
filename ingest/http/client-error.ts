import type { Socket } from 'node:net'
import type { Connections } from './connections.ts'
import { HttpProblem, problemBody } from './problem.ts'

/**
 * Says to a connection whose bytes are no request, so that no route and no hook sees it, what is wrong, and closes it. While a request
 * before it is not answered it only closes: the answer would be taken for that one's.
 */
export function createClientErrorHandler(
  connections: Pick<Connections, 'isBusy'>,
): (error: { readonly code?: string }, socket: Socket) => void {
  return (error, socket) => {
    if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return
    if (connections.isBusy(socket)) {
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
  }
}

function problemOfCode(code: string | undefined): HttpProblem {
  if (code === 'HPE_HEADER_OVERFLOW') return new HttpProblem(431, 'headers_too_large', 'the headers are too large')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new HttpProblem(408, 'request_timeout', 'the request took too long')
  return new HttpProblem(400, 'bad_request', 'this is not an HTTP request')
}
