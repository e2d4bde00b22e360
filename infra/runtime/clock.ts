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
  // node:timers/promises makes an error with a stack each time that a signal aborts
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) {
        resolve()
        return
      }
      const timer = setTimeout(end, ms)
      signal?.addEventListener('abort', end, { once: true })
      function end(): void {
        clearTimeout(timer)
        signal?.removeEventListener('abort', end)
        resolve()
      }
    }),
}
