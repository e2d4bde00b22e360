import type { Clock } from '../../infra/runtime/clock.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import type { Gateway } from '../http/request.ts'

export interface Drain {
  /** Aborts when draining begins: what would never end by itself ends now. */
  readonly signal: AbortSignal
  /** Aborts when draining is over and the server closes: what waits for something to happen is answered as it is. */
  readonly over: AbortSignal
  /** Aborts when there is no more time: what still runs is cut, so that what was accepted can be brought to its end. */
  readonly cut: AbortSignal
  /** Answers to whoever still comes here say that the next request should not. */
  readonly plugin: (app: Gateway) => void
}

/** Of the time behind the drain; the rest is for what comes behind the last answer. */
const GRACEFUL = 0.75

/**
 * The part that is stopped first, as it is started last: from then on the gateway is not ready and says `connection: close`, and goes
 * on serving for `drainMs`, until load balancers have noticed.
 */
export function createDrain(options: {
  readonly drainMs: number
  /** The process ends so long after the stop began, whatever it is at; more than `drainMs`. */
  readonly shutdownMs: number
  readonly clock: Clock
}): Started<Drain> {
  const { drainMs, shutdownMs, clock } = options
  const [draining, over, cut] = [new AbortController(), new AbortController(), new AbortController()]
  const { signal } = draining
  return {
    value: {
      signal,
      over: over.signal,
      cut: cut.signal,
      plugin: (app) => {
        app.addHook('onSend', async (_request, reply) => {
          if (signal.aborted) reply.header('connection', 'close')
        })
      },
    },
    async stop() {
      draining.abort()
      await clock.sleep(drainMs)
      over.abort()
      setTimeout(() => cut.abort(), GRACEFUL * (shutdownMs - drainMs)).unref()
    },
  }
}
