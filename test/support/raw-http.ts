import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** What came back over one connection, byte by byte as it was sent. */
export interface RawAnswer {
  /** Of every answer, in order. */
  readonly statuses: readonly number[]
  readonly text: string
}

/** Sends the parts one after the other and reads until the server closes the connection. */
export async function sendRaw(port: number, parts: readonly (string | Buffer)[]): Promise<RawAnswer> {
  const socket = await open(port)
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  // a server that has heard enough may close while we send
  socket.on('error', () => socket.destroy())
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  for (const part of parts) {
    if (!socket.writable) break
    if (!socket.write(part)) await Promise.race([once(socket, 'drain').catch(() => []), closed])
  }
  await closed
  const text = Buffer.concat(chunks).toString('latin1')
  return { statuses: [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status)), text }
}

export async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.setNoDelay(true)
  await once(socket, 'connect')
  return socket
}
