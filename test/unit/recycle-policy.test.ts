/** When a child that has grown is started anew, and when it is left alone. */
import { expect, test } from 'vitest'
import { createRecyclePolicy, type RecyclePolicy } from '../../inference/execution/recycle-policy.ts'

const MINUTE = 60_000

/** Minutes at which it is started anew, of a child that has `bytesAt` so many minutes after each start. */
function startsOf(policy: RecyclePolicy, bytesAt: (minute: number) => number, minutes: number): readonly number[] {
  const starts: number[] = []
  let began = 0
  policy.began(0)
  for (let minute = 0; minute < minutes; minute++) {
    const now = minute * MINUTE
    if (!policy.rested(bytesAt(minute - began), now)) continue
    starts.push(minute)
    began = minute
    policy.began(now)
    expect(policy.rested(bytesAt(0), now)).toBe(false)
  }
  return starts
}

test('what keeps growing is started anew again and again', () => {
  expect(startsOf(createRecyclePolicy(30, 1_000), (minute) => 100 + minute, 121)).toEqual([30, 60, 90, 120])
})

test('what grows too soon may grow more, until it takes its time or is killed', () => {
  const quick = createRecyclePolicy(4, 1_000)
  expect(startsOf(quick, (minute) => 100 + minute, 35)).toEqual([4, 12, 28, 32])
  const killed = createRecyclePolicy(4, 1_000)
  killed.began(0)
  expect([killed.rested(100, 0), killed.rested(104, MINUTE)]).toEqual([false, true])
  killed.began(MINUTE)
  expect([killed.rested(100, MINUTE), killed.rested(104, 2 * MINUTE)]).toEqual([false, false])
  killed.exceeded()
  killed.began(2 * MINUTE)
  expect([killed.rested(100, 2 * MINUTE), killed.rested(104, 3 * MINUTE)]).toEqual([false, true])
})

test('what simply needs more than it began with is left alone soon', () => {
  expect(startsOf(createRecyclePolicy(30, 1_000), (minute) => (minute === 0 ? 100 : 300), 600)).toEqual([1, 2, 3])
})

test('above the limit, where its next run would end it, it is started anew whatever it began with', () => {
  expect(startsOf(createRecyclePolicy(512, 400), (minute) => 300 + minute, 202)).toEqual([101])
})
