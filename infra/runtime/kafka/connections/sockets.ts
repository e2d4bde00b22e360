import net from 'node:net'
import tls from 'node:tls'
import { fatal, type MillraceError, retryable } from '../../errors.ts'

export interface TlsFiles {
  /** PEM, each. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** Begins to connect; `onConnect` is called when bytes can be sent, with TLS after the handshake. */
export function connectSocket(
  host: string,
  port: number,
  files: tls.ConnectionOptions | null | undefined,
  onConnect: () => void,
): net.Socket {
  const socket =
    files === undefined || files === null
      ? net.connect({ host, port }, onConnect)
      : tls.connect({ host, port, ...(net.isIP(host) === 0 ? { servername: host } : {}), ...files }, onConnect)
  // Nagle's algorithm would delay small requests that follow one another
  socket.setNoDelay(true)
  socket.setKeepAlive(true, 60_000)
  return socket
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
