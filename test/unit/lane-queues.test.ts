import { expect, test } from 'vitest'
import { createLaneQueues, type LaneQueues, type Turns } from '../../inference/batching/lane-queues.ts'
import { PendingWork } from '../../inference/batching/pending-work.ts'

const CAP = 2
let now = 0

/** Works of as many rows as a batch may have, one after the other. */
function come(queues: LaneQueues, ...lanes: readonly string[]): void {
  for (const lane of lanes) {
    const work = { lane, rows: new Float32Array(CAP), arrivedAt: now, deadline: Number.POSITIVE_INFINITY }
    const settle = { resolve() {}, reject() {} }
    queues.push(new PendingWork(work, { count: CAP, since: now++, outputWidth: 1 }, settle))
  }
}

/** The lanes of the next batches. */
function taken(queues: LaneQueues, turns: Turns, most = Number.POSITIVE_INFINITY): string[] {
  const lanes: string[] = []
  while (queues.rows > 0 && lanes.length < most) lanes.push(...batchOf(queues, CAP, CAP, turns))
  return lanes
}

function batchOf(queues: LaneQueues, cap: number, alone: number, turns: Turns): string[] {
  return queues.take(cap, alone, turns).map(({ pending }) => pending.work.lane)
}

test('the lane that has waited longest is next: works leave as they came', () => {
  const queues = createLaneQueues()
  const works = ['a', 'a', 'b', 'a', 'c', 'b', 'a']
  come(queues, ...works)
  expect(taken(queues, 'oldest')).toEqual(works)
})

test('the lane that has had least is next: one with little does not wait for one with much', () => {
  const queues = createLaneQueues()
  come(queues, 'a', 'a', 'a', 'a')
  expect(taken(queues, 'least', 2)).toEqual(['a', 'a'])
  come(queues, 'b', 'c', 'b')
  expect(taken(queues, 'least')).toEqual(['a', 'b', 'c', 'a', 'b'])
})

test('what a lane has had by its age is not held against it', () => {
  const queues = createLaneQueues()
  come(queues, 'b', 'a', 'a', 'a', 'a', 'a', 'a', 'b', 'a', 'b', 'a', 'b')
  expect(taken(queues, 'oldest', 7)).toEqual(['b', 'a', 'a', 'a', 'a', 'a', 'a'])
  expect(taken(queues, 'least')).toEqual(['b', 'a', 'b', 'a', 'b'])
})

test('nor is what it had in batches that took all that waited', () => {
  const queues = createLaneQueues()
  for (let round = 0; round < 100; round++) {
    come(queues, 'b', 'a', 'a', 'a', 'a')
    batchOf(queues, 100, Number.POSITIVE_INFINITY, 'least')
  }
  come(queues, 'b', 'b', 'b', 'a', 'a', 'a')
  expect(taken(queues, 'least').slice(0, 3)).toContain('a')
})

test.each(['oldest', 'least'] as const)(
  'of a batch that has no room for every lane, none is left out for ever: %s',
  (turns) => {
    const queues = createLaneQueues()
    come(queues, 'a', 'b')
    const lanes: string[] = []
    for (let batch = 0; batch < 5; batch++) {
      lanes.push(...batchOf(queues, 1, Number.POSITIVE_INFINITY, turns))
      come(queues, 'a')
    }
    expect(lanes).toContain('b')
  },
)
