import type { Gateway } from '../http/request.ts'

/** A route that will go, as data in its config. */
export interface Deprecation {
  /** Since when it should not be used by what is new, ISO 8601. */
  readonly since: string
  /** When it may stop to answer, ISO 8601. */
  readonly sunset: string
  /** Path of what takes its place. */
  readonly successor: string
}

declare module 'fastify' {
  interface FastifyContextConfig {
    readonly deprecated?: Deprecation
  }
}

/**
 * Every answer of a deprecated route says so: `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link` to its successor. Other
 * routes cost nothing. Comes before the routes.
 */
export function versions(app: Gateway): void {
  app.addHook('onRoute', (route) => {
    const deprecation = route.config?.deprecated
    if (deprecation === undefined) return
    const headers = deprecationHeaders(deprecation)
    const before = route.onSend === undefined ? [] : [route.onSend].flat()
    route.onSend = [
      ...before,
      async (_request, reply) => {
        reply.headers(headers)
      },
    ]
  })
}

function deprecationHeaders({ since, sunset, successor }: Deprecation): Readonly<Record<string, string>> {
  const [sinceMs, sunsetMs] = [Date.parse(since), Date.parse(sunset)]
  if (!(sinceMs <= sunsetMs)) throw new Error(`deprecated since ${since} until ${sunset}: no valid dates in that order`)
  return {
    deprecation: `@${Math.floor(sinceMs / 1_000)}`,
    sunset: new Date(sunsetMs).toUTCString(),
    link: `<${successor}>; rel="successor-version"`,
  }
}
