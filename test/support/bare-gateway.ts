import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { type AppOptions, createApp } from '../../ingest/app.ts'
import type { Gateway, Plugin } from '../../ingest/http/request.ts'
import { type BodySettings, bodyLimits } from '../../ingest/plugins/bodies.ts'
import { createHeldBytes, type HeldBytes } from '../../ingest/plugins/held-bytes.ts'
import type { UsageMeter } from '../../ingest/usage/usage.ts'
import { principal } from './principals.ts'

export interface BareGateway {
  readonly port: number
  readonly held: HeldBytes
  readonly app: Gateway
  /** Requests that reached a route. */
  readonly reached: string[]
  /** Requests that are counted as running. */
  readonly inside: () => number
  /** Of every request that was answered. */
  readonly receivedBytes: number[]
}

export const MIB = 1_048_576

/**
 * The gateway's server without what lies behind it: `POST /bytes` says how many bytes its body has, `POST /json` checks its body
 * against a schema. Everybody is let in who has an `authorization` header.
 */
export async function startBareGateway(
  options: {
    readonly app?: Partial<AppOptions>
    readonly bodies?: Partial<BodySettings>
    readonly before?: (held: HeldBytes) => AppOptions['before']
    /** Added before the routes. */
    readonly plugins?: readonly Plugin[]
  } = {},
): Promise<BareGateway> {
  const held = createHeldBytes(64 * MIB)
  const reached: string[] = []
  const receivedBytes: number[] = []
  const usage: UsageMeter = { served: (request) => void receivedBytes.push(request.requestBytes) }
  const who = principal('someone')
  const bodies: BodySettings = { maxBodyBytes: MIB, held, slowAfterMs: 1_000, ...options.bodies }
  let inside = 0
  const enter = (): (() => void) => {
    inside++
    return () => void inside--
  }
  const app = await createApp({
    access: {
      admit: async ({ authorization }) =>
        authorization === undefined
          ? { ok: false, status: 401, code: 'unauthorized', detail: 'who are you' }
          : { ok: true, principal: who },
    },
    limits: {
      take: async () => ({ ok: true, standings: [], retryAfterSeconds: 0 }),
      giveBack: async () => {},
      enter,
    },
    usage,
    logger: silentLogger,
    maxBodyBytes: bodies.maxBodyBytes,
    headersTimeoutMs: 1_000,
    requestTimeoutMs: 3_000,
    maxHeaderBytes: 16_384,
    maxConnections: 20_000,
    before: [...(options.before?.(held) ?? []), bodyLimits(bodies)],
    plugins: [...(options.plugins ?? []), routes],
    ...options.app,
  })
  function routes(gateway: Gateway): void {
    gateway.post('/bytes', { config: { scope: 'ingest' } }, async (request) => {
      reached.push(request.url)
      return { bytes: (request.body as Buffer | undefined)?.length ?? 0 }
    })
    const body = { type: 'object', properties: { name: { type: 'string' } } }
    gateway.post('/json', { config: { scope: 'ingest' }, schema: { body } }, async (request) => {
      reached.push(request.url)
      return { name: (request.body as { name?: string }).name ?? null }
    })
  }
  await app.listen({ port: 0, host: '127.0.0.1' })
  onTestFinished(() => app.close())
  const { port } = app.server.address() as AddressInfo
  return { port, held, app, reached, inside: () => inside, receivedBytes }
}
