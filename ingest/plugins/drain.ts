import type { Clock } from '../../infra/runtime/clock.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import type { Gateway } from '../http/request.ts'

export interface Drain {
  /** Aborts when draining begins: what would never end by itself ends now. */
  readonly signal: AbortSignal
  /** Answers to whoever still comes here say that the next request should not. */
  readonly plugin: (app: Gateway) => void
}

/**
 * The part that is stopped first, as it is started last: from then on the gateway is not ready and says `connection: close`, and goes
 * on serving for `drainMs`, until load balancers have noticed.
 */
export function createDrain(options: { readonly drainMs: number; readonly clock: Clock }): Started<Drain> {
  const draining = new AbortController()
  const { signal } = draining
  return {
    value: {
      signal,
      plugin: (app) => {
        app.addHook('onSend', async (_request, reply) => {
          if (signal.aborted) reply.header('connection', 'close')
        })
      },
    },
    async stop() {
      draining.abort()
      await options.clock.sleep(options.drainMs)
    },
  }
}
