import type { Clock } from '../../../infra/runtime/clock.ts'
import type { RunRows } from '../run-rows.ts'

/** What a provider has to do, for all whose runs are counted: on the GPU of a process, those of every version. */
export interface ProviderLoad {
  /** Until what is under way there is expected to be over, ms. */
  busyMs(): number
  /** The same, with its runs counted: each takes `expectedMs` of its rows. */
  counted(run: RunRows, expectedMs: (rows: Float32Array) => number): RunRows
}

export function createProviderLoad(clock: Pick<Clock, 'monotonic'>): ProviderLoad {
  let busyUntil = 0
  let underWay = 0
  return {
    busyMs: () => Math.max(0, busyUntil - clock.monotonic()),
    counted: (run, expectedMs) => async (rows) => {
      busyUntil = Math.max(busyUntil, clock.monotonic()) + expectedMs(rows)
      underWay++
      try {
        return await run(rows)
      } finally {
        underWay--
        if (underWay === 0) busyUntil = 0
      }
    },
  }
}
