import type { GatewayRequests } from '../../schemas/generated/records.ts'
import type { ServedRequest } from './usage.ts'

const MINUTE_MS = 60_000
/** Up to 0.25 ms, and each bound √2 times the one before: the 37th is 65.5 s, longer than any request may take. */
const LEAST_MS = 0.25
const PLACES = 38

/** Where in a fact's `latency` a request is counted: the first i with tookMs ≤ 0.25 · 2^(i/2), else the last. */
export function latencyPlace(tookMs: number): number {
  if (!(tookMs > LEAST_MS)) return 0
  return Math.min(PLACES - 1, Math.ceil(2 * Math.log2(tookMs / LEAST_MS)))
}

type Fact = { -readonly [K in keyof GatewayRequests]: K extends 'latency' ? number[] : GatewayRequests[K] }

/** Sums requests by minute, tenant, route, method and status. */
export interface RequestFacts {
  /** False: it could not be counted, because too many facts wait already and none of them is like it. */
  add(request: ServedRequest, atMs: number): boolean
  /** What was summed since the last call, numbered; nothing more is added to it. */
  take(): readonly GatewayRequests[]
  /** Facts that were taken and are not written yet: they count as held. */
  waiting: number
}

/**
 * Holds at most `maxFacts`, those that wait included. When there are that many, a request is counted in the latest minute that has a
 * fact of its tenant, route, method and status: sums stay right, the minute is coarser.
 */
export function createRequestFacts(options: {
  readonly pipeline: string
  readonly instance: string
  readonly maxFacts: number
}): RequestFacts {
  const { pipeline, instance, maxFacts } = options
  let open: Fact[] = []
  const latest = new Map<string, Fact>()
  let sequence = 0

  function factOf({ tenant, route, method, status }: ServedRequest, minute: number): Fact | null {
    const kind = `${status} ${method} ${route} ${tenant ?? ''}`
    const found = latest.get(kind)
    if (found?.minute === minute) return found
    if (open.length + facts.waiting >= maxFacts) return found ?? null
    const latency = new Array<number>(PLACES).fill(0)
    const sums = { requests: 0, events: 0, request_bytes: 0, response_bytes: 0, took_ms: 0, latency }
    const fact: Fact = { pipeline, instance, sequence: 0, minute, tenant: tenant ?? '', route, method, status, ...sums }
    open.push(fact)
    latest.set(kind, fact)
    return fact
  }

  const facts: RequestFacts = {
    waiting: 0,
    add(request, atMs) {
      const fact = factOf(request, Math.floor(atMs / MINUTE_MS) * MINUTE_MS)
      if (fact === null) return false
      fact.requests += 1
      fact.events += request.events
      fact.request_bytes += request.requestBytes
      fact.response_bytes += request.responseBytes
      fact.took_ms += request.tookMs
      const place = latencyPlace(request.tookMs)
      fact.latency[place] = (fact.latency[place] ?? 0) + 1
      return true
    },
    take() {
      const taken = open
      open = []
      latest.clear()
      for (const fact of taken) fact.sequence = sequence++
      return taken
    },
  }
  return facts
}
