import { expect, test } from 'vitest'
import { ADMISSION_INTERVAL_MS, createAdmission } from '../../ingest/plugins/admission.ts'
import { seededRandom } from '../support/seeded-random.ts'

// Simulated: nothing here takes the time that it says.

const TURN_MS = 25
const BACKLOG_MS = 100
const percentile = (values: readonly number[], part: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * part)] ?? 0

/** A queue behind the gateway that is done in order, one a ms, acknowledged `batch` at a time. Waits are of those let in after the first second. */
function behindKafka(perMs: number, batch: number, durationMs = 10_000) {
  const admission = createAdmission({ turnMs: TURN_MS, backlogMs: BACKLOG_MS, random: seededRandom(1).next })
  const queue: number[] = []
  const waits: number[] = []
  let done = 0
  let longest = 0
  let arrivals = 0
  for (let now = 0; now < durationMs; now++) {
    if (now % ADMISSION_INTERVAL_MS === 0) {
      admission.observe({ backlogMs: queue.length === 0 ? 0 : now - (queue[0] ?? now), full: 0 }, now)
    }
    admission.turn(now)
    for (arrivals += perMs; arrivals >= 1; arrivals--) if (admission.refuse(now) === null) queue.push(now)
    longest = Math.max(longest, queue.length)
    if (now % batch !== 0) continue
    for (const arrived of queue.splice(0, batch)) {
      done++
      if (arrived > 1_000) waits.push(now - arrived)
    }
  }
  return { goodput: done / durationMs, p99: percentile(waits, 0.99), longest }
}

/** An event loop that takes what came since its last turn: 0.1 ms for a request, `refusalMs` for one that is turned away. */
function inTheLoop(perMs: number, refusalMs: number, durationMs = 10_000) {
  const admission = createAdmission({ turnMs: TURN_MS, backlogMs: BACKLOG_MS, random: seededRandom(1).next })
  const waits: number[] = []
  let began = 0
  let now = 0
  while (now < durationMs) {
    const turn = now
    admission.turn(now)
    const count = Math.floor(turn * perMs) - Math.floor(began * perMs)
    for (let index = 0; index < count; index++) {
      if (admission.refuse(now) === null) {
        now += 0.1
        waits.push(now - (began + index / perMs))
      } else now += refusalMs
    }
    now += 0.1
    began = turn
  }
  return { goodput: waits.length / (durationMs * 10), p99: percentile(waits, 0.99) }
}

test.each([0.5, 0.9])('below the capacity of Kafka nobody is turned away (%f of it)', (load) => {
  for (const batch of [1, 10]) expect(behindKafka(load, batch).goodput).toBeGreaterThan(load * 0.995)
})

test.each([1.2, 2, 5, 10])(
  'above the capacity of Kafka all of it is used, and who gets in waits for little (%f of it)',
  (load) => {
    for (const batch of [1, 10]) {
      const { goodput, p99 } = behindKafka(load, batch)
      expect(goodput).toBeGreaterThan(0.98)
      expect(p99).toBeLessThan(BACKLOG_MS + 2 * ADMISSION_INTERVAL_MS)
    }
  },
)

test('before anything is known of the capacity, what comes in two intervals gets in', () => {
  expect(behindKafka(10, 1).longest).toBeLessThanOrEqual(2 * ADMISSION_INTERVAL_MS * 10)
})

test.each([0.5, 0.9])('an event loop that has time turns nobody away (%f of its capacity)', (load) => {
  expect(inTheLoop(load * 10, 0).goodput).toBeGreaterThan(load * 0.995)
})

test.each([1.5, 3, 10])('an event loop that has too much to do does as much as it can (%f of its capacity)', (load) => {
  const free = inTheLoop(load * 10, 0)
  expect(free.goodput).toBeGreaterThan(0.9)
  expect(free.p99).toBeLessThan(2 * TURN_MS + 1)
  // what it costs to turn away is lost, and nothing else: at 1 % of a request 9 % at ten times the capacity
  const paid = inTheLoop(load * 10, 0.001)
  expect(paid.goodput).toBeGreaterThan(0.99 - 0.01 * load)
})

test('a Kafka that acknowledges nothing gets no more, and as much as before once it is back', () => {
  const admission = createAdmission({ turnMs: TURN_MS, backlogMs: BACKLOG_MS, random: seededRandom(1).next })
  const admitted = (now: number): number => {
    admission.turn(now)
    return Array.from({ length: 20 }, () => admission.refuse(now)).filter((refused) => refused === null).length
  }
  let letIn = 0
  for (let now = 0; now < 5_000; now += ADMISSION_INTERVAL_MS) {
    admission.observe({ backlogMs: now, full: 0 }, now)
    letIn += admitted(now)
  }
  expect(letIn).toBeLessThanOrEqual(60)
  admission.observe({ backlogMs: 0, full: 0 }, 5_000)
  expect(admitted(5_000)).toBe(20)
})

test('the fuller it is the more are turned away, and nobody gets in when it is full', () => {
  const part = (full: number): number => {
    const admission = createAdmission({ turnMs: TURN_MS, backlogMs: BACKLOG_MS, random: seededRandom(1).next })
    admission.turn(0)
    admission.observe({ backlogMs: 0, full }, 0)
    return (
      Array.from({ length: 2_000 }, () => admission.refuse(0)).filter((refused) => refused === 'room').length / 2_000
    )
  }
  expect(part(0.8)).toBe(0)
  expect(part(0.9)).toBeGreaterThan(0.45)
  expect(part(0.9)).toBeLessThan(0.55)
  expect(part(1)).toBe(1)
  expect(part(3)).toBe(1)
})

test('a few at a time get in however long they take', () => {
  const admission = createAdmission({ turnMs: TURN_MS, backlogMs: BACKLOG_MS, random: () => 0.5 })
  admission.turn(0)
  const refused = Array.from({ length: 10 }, (_, index) => admission.refuse(index * 10 * TURN_MS))
  expect(refused).toEqual([...Array.from({ length: 8 }, () => null), 'loop', 'loop'])
  admission.turn(100 * TURN_MS)
  expect(admission.refuse(102 * TURN_MS)).toBeNull()
})
