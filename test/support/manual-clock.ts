import type { Clock } from '../../infra/runtime/clock.ts'

export type ManualClock = Clock & { advance(ms: number): void }

/** Time that moves when it is told to. */
export function manualClock(startMs = 1_000_000): ManualClock {
  let at = startMs
  return {
    now: () => at,
    monotonic: () => at,
    sleep: async (ms) => {
      at += ms
    },
    advance(ms) {
      at += ms
    },
  }
}

/** Time that moves only when it is told to: who sleeps wakes when it has come. */
export function steppedClock(startMs = 1_000_000): ManualClock {
  let at = startMs
  const sleepers = new Set<{ readonly until: number; readonly wake: () => void }>()
  return {
    now: () => at,
    monotonic: () => at,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const sleeper = { until: at + ms, wake: resolve }
        sleepers.add(sleeper)
        signal?.addEventListener('abort', () => {
          sleepers.delete(sleeper)
          resolve()
        })
      }),
    advance(ms) {
      at += ms
      for (const sleeper of sleepers) {
        if (sleeper.until > at) continue
        sleepers.delete(sleeper)
        sleeper.wake()
      }
    },
  }
}
