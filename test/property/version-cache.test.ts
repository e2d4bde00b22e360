import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { HeldVersion } from '../../inference/models/version-cache.ts'
import { manualClock } from '../support/manual-clock.ts'
import { versionsOf } from '../support/versions-of.ts'

const IDS = ['a', 'b', 'c', 'd', 'e']
const SIZES: Readonly<Record<string, number>> = { a: 1, b: 5, c: 10, d: 10, e: 40 }
const size = (id: string): number => SIZES[id] ?? 0

const id = fc.constantFrom(...IDS)
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('load' as const), id }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('hold' as const), id }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('release' as const), at: fc.nat(20) }) },
  fc.record({ kind: fc.constant('pin' as const), ids: fc.subarray(IDS) }),
  fc.record({ kind: fc.constant('break' as const), ids: fc.subarray(IDS) }),
  fc.record({ kind: fc.constant('settle' as const) }),
  fc.record({ kind: fc.constant('wait' as const) }),
)

test('whatever comes: nothing is closed while it is held, all is closed once, the budget is kept where it can be', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 0, max: 60 }), async (steps, maxBytes) => {
      const clock = manualClock()
      const holds: { readonly id: string; readonly held: HeldVersion }[] = []
      const closedWhileHeld: string[] = []
      const versions = versionsOf({
        maxBytes,
        bytes: size,
        clock,
        async onClose(one) {
          if (holds.some((hold) => hold.id === one)) closedWhileHeld.push(one)
          await new Promise(setImmediate)
        },
      })
      const { cache, failing } = versions
      const loads: Promise<unknown>[] = []
      const settle = async (): Promise<void> => {
        await Promise.all(loads.splice(0))
      }
      let pins: readonly string[] = []
      for (const one of steps) {
        if (one.kind === 'load') {
          loads.push(
            cache.load(one.id).catch((error: unknown) => {
              expect(error).toMatchObject({ message: `${one.id} is broken` })
            }),
          )
        } else if (one.kind === 'hold') {
          const held = cache.hold(one.id)
          if (held !== null) holds.push({ id: one.id, held })
        } else if (one.kind === 'release') {
          const [hold] = holds.splice(one.at % Math.max(holds.length, 1), 1)
          hold?.held.release()
        } else if (one.kind === 'pin') {
          pins = one.ids
          cache.pin(pins)
        } else if (one.kind === 'break') {
          failing.clear()
          for (const broken of one.ids) failing.add(broken)
        } else if (one.kind === 'settle') await settle()
        else clock.advance(30_000)
        for (const { id: heldId, held } of holds) expect(held.version.manifest.version).toBe(heldId)
      }
      await settle()

      // what is left when nobody waits for anything: pinned, held, and at most one more that was used last
      clock.advance(30_000)
      cache.pin(pins)
      const loaded = IDS.filter((one) => {
        const held = cache.hold(one)
        held?.release()
        return held !== null
      })
      const free = loaded.filter((one) => !pins.includes(one) && !holds.some((hold) => hold.id === one))
      const bytes = loaded.reduce((sum, one) => sum + size(one), 0)
      expect(bytes <= maxBytes || free.length <= 1, `${bytes} of ${maxBytes}: ${loaded.join(' ')}`).toBe(true)

      const closing = cache.close()
      while (holds.length > 0) holds.shift()?.held.release()
      await closing
      expect(closedWhileHeld).toEqual([])
      expect(versions.closed.toSorted()).toEqual(versions.opens.toSorted())
    }),
    { numRuns: 500 },
  )
})
