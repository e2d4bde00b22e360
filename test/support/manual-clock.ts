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
