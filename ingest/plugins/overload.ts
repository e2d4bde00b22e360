import type { Clock } from '../../infra/runtime/clock.ts'
import { HttpProblem, problemBody, retryAfter } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { ADMISSION_INTERVAL_MS, createAdmission, type Overload } from './admission.ts'
import type { HeldBytes } from './held-bytes.ts'
import { createRefusals } from './refusals.ts'

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
const BACKLOG_FROM_BYTES = 65_536
/** From this part of the memory on there is less room for bodies, down to `LEAST_ROOM` of it when the memory is full. */
const MEMORY_TIGHT = 0.75
const LEAST_ROOM = 1 / 16
/** In an interval: answering them takes about a tenth of the time, if none would wait longer than this. */
const REFUSED_AT_ONCE = 16
const REFUSED_WITHIN_MS = 1_000
/** Made once: an error with its stack is most of what it would cost to turn somebody away. */
const TOO_MUCH = new HttpProblem(503, 'overloaded', 'the gateway has more to do than it can; try again')
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
  const refusals = createRefusals({
    perInterval: REFUSED_AT_ONCE,
    maxWaitMs: REFUSED_WITHIN_MS,
    monotonic: clock.monotonic,
  })
  let isTurn = false
  let room = held.max

  function observe(): void {
    const { bytes, oldestMs } = backlog.of()
    room = held.max * roomWith(process.memoryUsage.rss() / maxMemoryBytes)
    const full = Math.max(held.bytes() / room, bytes / backlog.maxBytes)
    admission.observe({ backlogMs: bytes < BACKLOG_FROM_BYTES ? 0 : oldestMs, full }, clock.monotonic())
  }

  return (app) => {
    const timer = setInterval(() => {
      observe()
      refusals.next()
    }, ADMISSION_INTERVAL_MS)
    timer.unref()
    app.addHook('preClose', async () => refusals.flush())
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
      // one is always let in: whatever else takes the memory, it goes on
      const because = held.bytes() > 0 && held.bytes() + declared > room ? 'room' : admission.refuse(now)
      if (because === null) {
        done()
        return
      }
      observer.shed(because)
      // not thrown: it is no failure to be logged, a thousand times a second
      refusals.add(() => {
        void reply
          .code(TOO_MUCH.status)
          .headers({ 'retry-after': retryAfter(), ...(declared > KEEP_BODY_BYTES ? { connection: 'close' } : {}) })
          .type('application/problem+json')
          .send(JSON.stringify(problemBody(TOO_MUCH, request.url)))
      })
    })
  }
}

/**
 * Part of the room for bodies that is left. What a process once had it gives back late or never, however little it does: its memory says
 * how careful to be, and never that nobody may come in.
 */
function roomWith(memory: number): number {
  return Math.min(1, Math.max(LEAST_ROOM, (1 - memory) / (1 - MEMORY_TIGHT)))
}
