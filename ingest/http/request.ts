import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type { Scope } from '../../schemas/control/access.ts'
import type { Principal } from '../access/access.ts'

/** The gateway's server: routes declare their schemas with TypeBox and get their types from them. */
export type Gateway = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** Routes and hooks that are added to the server. */
export type Plugin = (app: Gateway) => Promise<void> | void

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What the caller's credential must allow; `public` = no credential is asked for. Every route names one: there is no default. */
    readonly scope?: Scope | 'public'
  }
  interface FastifyRequest {
    /** Who asks; null on public routes. */
    principal: Principal | null
    /** Events (or labels) that were accepted, for usage and quotas. */
    acceptedEvents: number
    /** Of the body as it came over the wire. */
    receivedBytes: number
  }
}
