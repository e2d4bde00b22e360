import { once } from 'node:events'
import { connect } from 'node:net'

export interface CutRequest {
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/**
 * Where a client gives up: after so much of what it sends, 0 to 1, or when so many bytes of the answer have come.
 * `answered`: the whole request was sent and the client goes at once.
 */
export type CutPoint =
  | { readonly at: 'headers' | 'body'; readonly share: number }
  | { readonly at: 'sent' }
  | { readonly at: 'answer'; readonly bytes: number }

/** Sends a request over a connection of its own, and cuts it at the point. Resolves when the connection is gone. */
export async function cutRequest({ port, path, headers, body }: CutRequest, point: CutPoint): Promise<void> {
  const lines = Object.entries({ host: `127.0.0.1:${port}`, 'content-length': Buffer.byteLength(body), ...headers })
  const head = `POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  socket.on('error', () => socket.destroy())
  await once(socket, 'connect')
  const closed = once(socket, 'close')
  const part = (text: string, share: number): string => text.slice(0, Math.floor(text.length * share))
  switch (point.at) {
    case 'headers':
      socket.write(part(head, point.share), () => socket.destroy())
      break
    case 'body':
      socket.write(head + part(body, point.share), () => socket.destroy())
      break
    case 'sent':
      socket.write(head + body, () => socket.resetAndDestroy())
      break
    case 'answer': {
      let received = 0
      socket.on('data', (chunk) => {
        received += chunk.length
        if (received >= point.bytes) socket.resetAndDestroy()
      })
      socket.write(head + body)
    }
  }
  await closed
}
