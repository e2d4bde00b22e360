import { fatal } from '../errors.ts'
import type { LaneHop } from '../kafka/hop/lane-hop.ts'
import type { Started } from './scope.ts'

export interface WatchdogOptions {
  readonly name: string
  readonly hop: Pick<LaneHop, 'workingForMs'> & { readonly source: Pick<LaneHop['source'], 'stuckSince'> }
  /** Something that it knows of holds it up: a dependency, a model on its way, an operator. */
  readonly isWaiting: () => boolean
  /** Without any progress; a handler that tries again makes some. */
  readonly limitMs: number
}

export interface Watchdog {
  /** Null, or what liveness says: there are records to work on, nothing is waited for, and yet nothing moves. */
  problem(): string | null
  /** Rejects with `no_progress` (crash) when there is a problem: whoever supervises the process starts it anew. */
  readonly ended: Promise<never>
}

/** Looks ten times in `limitMs`. */
export function startWatchdog({ name, hop, isWaiting, limitMs }: WatchdogOptions): Started<Watchdog> {
  const ended = Promise.withResolvers<never>()
  ended.promise.catch(() => {})

  function problem(): string | null {
    const stuck = hop.source.stuckSince()
    const stuckForMs = stuck === null || isWaiting() ? 0 : stuck.forMs
    const forMs = Math.max(hop.workingForMs(), stuckForMs)
    if (forMs <= limitMs) return null
    const where = stuckForMs < forMs || stuck === null ? '' : `, partition ${stuck.partition}`
    return `${name} has made no progress for ${Math.round(forMs / 1_000)} s${where}`
  }

  const timer = setInterval(() => {
    const found = problem()
    if (found !== null) ended.reject(fatal('no_progress', found))
  }, limitMs / 10)
  return {
    value: { problem, ended: ended.promise },
    async stop() {
      clearInterval(timer)
    },
  }
}
