import net from 'node:net'
import tls from 'node:tls'
import { fatal, type MillraceError, retryable } from '../../errors.ts'

export interface TlsFiles {
  /** PEM, each. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** Of one read. */
const READ_BYTES = 131_072

/**
 * Begins to connect; `onConnect` is called when bytes can be sent, with TLS after the handshake. With `onBytes`, what arrives is
 * handed over in memory that the next read uses again, instead of in `data` events with memory of their own each.
 */
export function connectSocket(
  host: string,
  port: number,
  files: tls.ConnectionOptions | null | undefined,
  onConnect: () => void,
  onBytes?: (bytes: Buffer) => void,
): net.Socket {
  const isPlain = files === undefined || files === null
  const reading =
    onBytes === undefined ? {} : { onread: { buffer: Buffer.allocUnsafeSlow(READ_BYTES), callback: readInto(onBytes) } }
  const socket = isPlain
    ? net.connect({ host, port, ...reading }, onConnect)
    : tls.connect({ host, port, ...(net.isIP(host) === 0 ? { servername: host } : {}), ...files }, onConnect)
  // sockets of TLS know no memory of the caller's
  if (!isPlain && onBytes !== undefined) socket.on('data', onBytes)
  // Nagle's algorithm would delay small requests that follow one another
  socket.setNoDelay(true)
  socket.setKeepAlive(true, 60_000)
  return socket
}

function readInto(onBytes: (bytes: Buffer) => void): (length: number, buffer: Uint8Array) => boolean {
  return (length, buffer) => {
    onBytes(Buffer.from(buffer.buffer, buffer.byteOffset, length))
    return true
  }
}

/** What OpenSSL and Node name when one side does not accept the other; a network that is away has other codes. */
const TLS_REFUSAL =
  /^(EPROTO$|ERR_SSL_|ERR_TLS_|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_|INVALID_CA|HOSTNAME_MISMATCH)/

/** `opening`: before the first answer. Later, a TLS error is a broken connection like any other. */
export function socketError(error: NodeJS.ErrnoException, broker: string, opening: boolean): MillraceError {
  const message = `${broker}: ${error.message === '' ? error.code : error.message}`
  if (opening && TLS_REFUSAL.test(error.code ?? '')) return fatal('kafka_refused', `${message} (${error.code})`, error)
  return retryable('kafka_unavailable', message, error)
}
