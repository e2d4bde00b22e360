import type { Clock } from '../../infra/runtime/clock.ts'
import { HttpProblem, problemBody, retryAfter } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { ADMISSION_INTERVAL_MS, createAdmission, type Overload } from './admission.ts'
import type { HeldBytes } from './held-bytes.ts'

export interface OverloadObserver {
  /** A request was turned away. */
  shed(because: Overload): void
}

export interface OverloadOptions {
  /** Resident memory of the process. */
  readonly maxMemoryBytes: number
  readonly held: HeldBytes
  readonly backlog: {
    /** What waits for Kafka, over all intakes. */
    readonly of: () => { readonly bytes: number; readonly oldestMs: number }
    readonly maxBytes: number
  }
  readonly clock: Clock
  readonly observer: OverloadObserver
  readonly turnMs?: number
  readonly backlogMs?: number
}

const TURN_MS = 25
const BACKLOG_MS = 250
/** A backlog of less says nothing: one broker may be slow, or nobody asks for much. */
const BACKLOG_FROM_BYTES = 1_048_576
/** The rest is for what a request makes of its body. */
const MEMORY_FULL = 0.95
/** A longer body is not read for the sake of the connection. */
const KEEP_BODY_BYTES = 65_536

/**
 * Turns away what is too much, 503 `overloaded` with a `Retry-After` that differs from request to request, before anybody is asked who
 * it is and before a body is read, so that it costs little; how much that is: see admission.ts. Routes for everybody (`public`:
 * health, documents) are always served. A credential that is above its own limit is told 429 instead.
 */
export function overload(options: OverloadOptions): (app: Gateway) => void {
  const { maxMemoryBytes, held, backlog, clock, observer } = options
  const { turnMs = TURN_MS, backlogMs = BACKLOG_MS } = options
  const admission = createAdmission({ turnMs, backlogMs, random: Math.random })
  let isTurn = false

  function observe(): void {
    const { bytes, oldestMs } = backlog.of()
    const full = Math.max(
      process.memoryUsage.rss() / (maxMemoryBytes * MEMORY_FULL),
      held.bytes() / held.max,
      bytes / backlog.maxBytes,
    )
    admission.observe({ backlogMs: bytes < BACKLOG_FROM_BYTES ? 0 : oldestMs, full }, clock.monotonic())
  }

  return (app) => {
    const timer = setInterval(observe, ADMISSION_INTERVAL_MS)
    timer.unref()
    app.addHook('onClose', async () => clearInterval(timer))
    app.addHook('onRequest', (request, reply, done) => {
      const { scope } = request.routeOptions.config
      if (scope === 'public') {
        done()
        return
      }
      const now = clock.monotonic()
      if (!isTurn) {
        isTurn = true
        admission.turn(now)
        setImmediate(() => {
          isTurn = false
        })
      }
      const declared = Number(request.headers['content-length'] ?? 0)
      const because = held.bytes() + declared > held.max ? 'room' : admission.refuse(now)
      if (because === null) {
        done()
        return
      }
      observer.shed(because)
      // not thrown: it is no failure to be logged, a thousand times a second
      const problem = new HttpProblem(503, 'overloaded', 'the gateway has more to do than it can; try again')
      void reply
        .code(problem.status)
        .headers({ 'retry-after': retryAfter(), ...(declared > KEEP_BODY_BYTES ? { connection: 'close' } : {}) })
        .type('application/problem+json')
        .send(JSON.stringify(problemBody(problem, request.url)))
    })
  }
}
