import type { IncomingMessage } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import { describeError } from '../infra/runtime/errors.ts'
import type { Logger } from '../infra/runtime/telemetry/logger.ts'
import type { Access, Admission, Principal } from './access/access.ts'
import { createClientErrorHandler } from './http/client-error.ts'
import { createConnections } from './http/connections.ts'
import { answerFrameworkError } from './http/framework-errors.ts'
import { HttpProblem, problemBody, problemOf, retryAfter } from './http/problem.ts'
import type { Gateway } from './http/request.ts'
import { whenClosed } from './http/when-closed.ts'
import type { Limits } from './limits/limits.ts'
import { countRequests } from './plugins/count-requests.ts'
import type { UsageMeter } from './usage/usage.ts'

export interface AppOptions {
  readonly access: Access
  readonly limits: Limits
  readonly usage: UsageMeter
  readonly logger: Logger
  /** Largest body, decoded, bytes. */
  readonly maxBodyBytes: number
  /** For headers, and for the whole request, ms. */
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly maxHeaderBytes: number
  readonly maxConnections: number
  /** What is still open when it aborts is cut. */
  readonly cut?: AbortSignal
  /** Their hooks run before anything is asked of a request: what it may bring, whether there is room for it. */
  readonly before?: readonly ((app: Gateway) => Promise<void> | void)[]
  /** Adds routes and hooks, before the server is ready. */
  readonly plugins: readonly ((app: Gateway) => Promise<void> | void)[]
}

const READ_TO_KEEP_BYTES = 65_536
/** A connection may be on its way to its first request when the server closes. */
const SILENT_MS = 500

/** The server with what every route has: who may, how much, what an error looks like, what is counted. Does not listen. */
export async function createApp(options: AppOptions): Promise<Gateway> {
  const { access, limits, usage, logger } = options
  const connections = createConnections()
  const app: Gateway = fastify({
    bodyLimit: options.maxBodyBytes,
    requestTimeout: options.requestTimeoutMs,
    http: {
      maxHeaderSize: options.maxHeaderBytes,
      headersTimeout: options.headersTimeoutMs,
      connectionsCheckingInterval: 1_000,
    },
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 256 },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false } },
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    exposeHeadRoutes: false,
    clientErrorHandler: createClientErrorHandler(connections),
    frameworkErrors: answerFrameworkError,
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.server.maxConnections = options.maxConnections
  app.server.on('connection', connections.opened)
  app.addHook('preClose', async () => {
    // a server that closes waits for every connection, and for headers without end
    const silent = setTimeout(connections.closeIdle, SILENT_MS)
    const cut = (): void => app.server.closeAllConnections()
    if (options.cut?.aborted) cut()
    options.cut?.addEventListener('abort', cut, { once: true })
    app.server.once('close', () => {
      clearTimeout(silent)
      options.cut?.removeEventListener('abort', cut)
    })
  })

  app.decorateRequest('principal', null)
  app.decorateRequest('acceptedEvents', 0)
  app.decorateRequest('receivedBytes', 0)
  countRequests(usage)(app)

  app.addHook('onRoute', ({ config, url, method }) => {
    if (config?.scope === undefined) throw new Error(`${String(method)} ${url} does not say who may use it`)
  })

  app.addHook('onRequest', (request, reply, done) => {
    connections.began(request.raw, reply.raw)
    done()
  })
  for (const plugin of options.before ?? []) await plugin(app)

  app.addHook('onRequest', async (request, reply) => {
    const { scope } = request.routeOptions.config
    if (scope === undefined) return
    if (scope === 'public') return
    const admission = await access.admit(request.headers)
    if (!admission.ok) {
      throw new HttpProblem(admission.status, admission.code, admission.detail, { headers: headersOf(admission) })
    }
    const { principal } = admission
    if (!principal.scopes.has(scope)) {
      throw new HttpProblem(403, 'missing_scope', `the credential does not have the scope ${scope}`)
    }
    request.principal = principal
    const leave = limits.enter(principal)
    if (leave === null) throw tooMany('concurrent_requests', 'too many requests of this credential run already', 1)
    // it may have gone while we asked who it is
    whenClosed(reply.raw, leave)
    const bytes = Number(request.headers['content-length'] ?? 0)
    await take(limits, principal, { requests: 1, events: 0, bytes }, reply)
  })

  app.addHook('preValidation', async (request, reply) => {
    const { principal, receivedBytes: bytes } = request
    // a body that did not say how long it would be is paid for when it is there
    if (principal === null || bytes === 0 || request.headers['content-length'] !== undefined) return
    await take(limits, principal, { requests: 0, events: 0, bytes }, reply)
  })

  app.setErrorHandler((error, request, reply) => {
    if (isStillSending(request.raw)) reply.header('connection', 'close')
    const problem = problemOf(error)
    // that something behind it is away (503) is said once, by who looks after it, and not by every request meanwhile
    if (problem.status === 500) {
      logger.error({ ...describeError(error), route: request.routeOptions.url }, 'request failed')
    }
    return reply
      .code(problem.status)
      .headers(problem.headers)
      .type('application/problem+json')
      .send(JSON.stringify(problemBody(problem, request.url)))
  })
  app.setNotFoundHandler((request) => {
    throw new HttpProblem(404, 'not_found', `there is no ${request.method} ${request.url.split('?')[0]}`)
  })

  for (const plugin of options.plugins) await plugin(app)
  return app
}

/** Takes what a request costs and says in its answer what is left; throws 429 when it is too much. */
export async function take(
  limits: Limits,
  principal: Principal,
  cost: { readonly requests: number; readonly events: number; readonly bytes: number },
  reply: { header(name: string, value: string): unknown },
): Promise<void> {
  const { ok, standings, retryAfterSeconds } = await limits.take(principal, cost)
  if (standings.length > 0) {
    reply.header(
      'ratelimit-policy',
      standings.map(({ name, quota, windowSeconds }) => `"${name}";q=${quota};w=${windowSeconds}`).join(', '),
    )
    reply.header(
      'ratelimit',
      standings.map(({ name, remaining, resetSeconds }) => `"${name}";r=${remaining};t=${resetSeconds}`).join(', '),
    )
  }
  if (!ok) throw tooMany('rate_limited', `the limit ${standings[0]?.name ?? ''} is reached`, retryAfterSeconds)
}

function headersOf({ status }: Extract<Admission, { ok: false }>): Readonly<Record<string, string>> {
  if (status === 401) return { 'www-authenticate': 'Bearer realm="millrace"' }
  return status === 503 ? { 'retry-after': retryAfter() } : {}
}

/** Whether more of a refused body is to come than is worth reading to keep the connection. */
function isStillSending({ complete, headers }: IncomingMessage): boolean {
  if (complete) return false
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > READ_TO_KEEP_BYTES
}

function tooMany(code: string, detail: string, retryAfterSeconds: number): HttpProblem {
  return new HttpProblem(429, code, detail, { headers: { 'retry-after': String(retryAfterSeconds) } })
}
