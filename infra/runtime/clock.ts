import { setTimeout as delay } from 'node:timers/promises'

/** Time as a dependency, so that policies can be tested without waiting. */
export interface Clock {
  /** Epoch ms. */
  now(): number
  /** Monotonic ms, for durations. */
  monotonic(): number
  /** Resolves after `ms`, or as soon as the signal aborts (without an error). */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal })
    } catch (error) {
      if (!signal?.aborted) throw error
    }
  },
}
