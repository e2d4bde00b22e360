import type { Clock } from '../../../infra/runtime/clock.ts'
import type { RunRows } from '../run-rows.ts'

/** What the GPU of this process has to do, for all versions that run on it. */
export interface GpuLoad {
  /** Until what is under way there is expected to be over, ms. */
  busyMs(): number
  /** The same, with its runs counted: each takes `expectedMs` of its rows. */
  counted(run: RunRows, expectedMs: (rows: Float32Array) => number): RunRows
}

export function createGpuLoad(clock: Pick<Clock, 'monotonic'>): GpuLoad {
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
