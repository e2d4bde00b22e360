import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AppliedLimit } from '../../ingest/limits/applied-limits.ts'
import { createLocalLimits } from '../../ingest/limits/local-limits.ts'
import { manualClock } from '../support/manual-clock.ts'

const steps = fc.array(
  fc.record({ waitMs: fc.integer({ min: 0, max: 700 }), events: fc.integer({ min: 0, max: 40 }) }),
  {
    maxLength: 120,
  },
)
const limitOf = (limit: number, kind: AppliedLimit['kind']): AppliedLimit => ({
  name: 'key-events',
  key: 'events',
  kind,
  limit,
  of: 'events',
})

test('between any two moments no more than limit * t, one bucket and one largest request go through', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 5 }), (asked, limit, replicas) => {
      const clock = manualClock()
      const local = createLocalLimits({ replicas, clock })
      const limits = [limitOf(limit, 'rate')]
      const part = limit / replicas
      const accepted: { at: number; events: number }[] = []
      for (const { waitMs, events } of asked) {
        clock.advance(waitMs)
        const [reading] = local.take(limits, { requests: 0, events, bytes: 0 })
        if (reading?.waitMs === 0) accepted.push({ at: clock.now(), events })
        // who is refused and waits as long as it was told to gets in
        else if (reading !== undefined) {
          clock.advance(Math.ceil(reading.waitMs))
          expect(local.take(limits, { requests: 0, events, bytes: 0 })[0]?.waitMs).toBe(0)
          accepted.push({ at: clock.now(), events })
        }
      }
      for (const [from, first] of accepted.entries()) {
        let sum = 0
        for (const { at, events } of accepted.slice(from)) {
          sum += events
          const most = (part * (at - first.at)) / 1_000 + part + Math.max(0, 40 - part)
          expect(sum).toBeLessThanOrEqual(most + 1e-6)
        }
      }
    }),
  )
})

test('what is owed to Redis is what was taken, less what the bucket would have again; told once', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 50 }), (asked, limit) => {
      const clock = manualClock()
      const local = createLocalLimits({ replicas: 1, clock })
      const limits = [limitOf(limit, 'rate'), { ...limitOf(100_000, 'month'), key: 'month' }]
      let taken = 0
      let left = limit
      for (const { waitMs, events } of asked) {
        clock.advance(waitMs)
        const readings = local.take(limits, { requests: 0, events, bytes: 0 })
        if (readings.every((reading) => reading.waitMs === 0)) taken += events
        left = readings[0]?.left ?? 0
      }
      const owed = local.owed(limits)
      expect(owed[0]).toBeCloseTo(Math.min(taken, limit - left), 6)
      expect(owed[1]).toBe(taken)
      expect(local.owed(limits)).toEqual([0, 0])
      local.stillOwed(limits, owed)
      expect(local.owed(limits)[1]).toBe(taken)
    }),
  )
})
