import { expect, test } from 'vitest'
import { createRefusals } from '../../ingest/plugins/refusals.ts'
import { manualClock } from '../support/manual-clock.ts'

function start() {
  const clock = manualClock()
  const answered: number[] = []
  const refusals = createRefusals({ perInterval: 2, maxWaitMs: 100, monotonic: clock.monotonic })
  const add = (...ids: readonly number[]): void => {
    for (const id of ids) refusals.add(() => void answered.push(id))
  }
  return { clock, answered, refusals, add }
}

test('few are answered at once, more in their turn', () => {
  const { answered, refusals, add } = start()
  add(1, 2, 3, 4, 5)
  expect(answered).toEqual([1, 2])
  refusals.next()
  expect(answered).toEqual([1, 2, 3, 4])
  add(6)
  expect(answered).toEqual([1, 2, 3, 4])
  refusals.next()
  expect(answered).toEqual([1, 2, 3, 4, 5, 6])
  refusals.next()
  add(7, 8, 9)
  expect(answered).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
})

test('nobody waits longer than the longest time, nor when it ends', () => {
  const { clock, answered, refusals, add } = start()
  add(1, 2, 3, 4, 5, 6)
  clock.advance(60)
  add(7, 8)
  clock.advance(40)
  refusals.next()
  expect(answered).toEqual([1, 2, 3, 4, 5, 6])
  refusals.flush()
  expect(answered).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
})
