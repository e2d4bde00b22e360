import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { EndpointError } from './errors.ts'

const USER = 'default'
const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\])(?::\d+)?$/i

const header = (request: IncomingMessage, name: string): string | undefined => {
  const value = request.headers[name]
  return typeof value === 'string' ? value : undefined
}

function basicCredentials(request: IncomingMessage): [user: string, password: string] | undefined {
  const encoded = /^Basic (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString()
  const colon = text.indexOf(':')
  return [text.slice(0, colon), text.slice(colon + 1)]
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/**
 * The engine has one user. Without a password, what keeps it is that it listens on loopback only; hence web pages are refused
 * too (another site's origin, or a name rebound to this machine): a browser would carry their statements here.
 */
export function authenticate(request: IncomingMessage, parameters: URLSearchParams, password: string): void {
  const host = request.headers.host ?? ''
  const origin = request.headers.origin
  if (!LOOPBACK.test(host) || (origin !== undefined && origin !== `http://${host}`)) {
    throw new EndpointError(497, 'ACCESS_DENIED', 'Requests of web pages and for other hosts are refused')
  }
  const [basicUser, basicPassword] = basicCredentials(request) ?? []
  const user = parameters.get('user') ?? header(request, 'x-clickhouse-user') ?? basicUser ?? USER
  const given = parameters.get('password') ?? header(request, 'x-clickhouse-key') ?? basicPassword ?? ''
  if (user !== USER || !timingSafeEqual(digest(given), digest(password))) {
    throw new EndpointError(
      516,
      'AUTHENTICATION_FAILED',
      `${user}: Authentication failed: password is incorrect, or there is no user with such name.`,
    )
  }
}
