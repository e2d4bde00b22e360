import type { KafkaMessage } from 'kafkajs'
import { expect, test } from 'vitest'
import { createLane, enqueue, readyInMs, settleIn, takeFrom } from '../../infra/runtime/kafka/lanes.ts'

const message = (offset: number): KafkaMessage => ({
  offset: String(offset),
  key: null,
  value: Buffer.alloc(10),
  timestamp: '0',
  attributes: 0,
  headers: {},
})
const rows = (maxRows: number) => ({ maxRows, maxBytes: 1_000 })
const limits = { maxRows: 4, maxBytes: 1_000, lingerMs: 50 }

function filled(...offsets: number[]) {
  const lane = createLane(1, 'g')
  enqueue(lane, offsets.map(message), (offsets.at(-1) ?? 0) + 1, 100)
  return lane
}

test('a chunk is cut to the rows asked for, and the rest comes next', () => {
  const lane = filled(5, 6, 9)
  const first = takeFrom('t', lane, rows(2), 0)
  expect([first?.length, first?.offset(0), first?.offset(1)]).toEqual([2, 5, 6])
  expect(takeFrom('t', lane, rows(2), 0)).toBeNull()
  if (first === null) throw new Error('nothing taken')
  expect(settleIn(lane, first, 2, 0)).toBe(true)
  expect(lane.settledTo).toBe(9)
  const second = takeFrom('t', lane, rows(2), 0)
  expect(second?.offset(0)).toBe(9)
  if (second === null) throw new Error('nothing taken')
  settleIn(lane, second, 1, 0)
  expect([lane.settledTo, lane.queuedBytes]).toEqual([10, 0])
})

test('settling a part returns the rest to the front and commits up to it', () => {
  const lane = filled(5, 6, 9)
  const batch = takeFrom('t', lane, rows(3), 0)
  if (batch === null) throw new Error('nothing taken')
  settleIn(lane, batch, 1, 40)
  expect(lane.settledTo).toBe(6)
  expect(takeFrom('t', lane, rows(3), 39)).toBeNull()
  expect(takeFrom('t', lane, rows(3), 40)?.offset(0)).toBe(6)
})

test('settling nothing moves no position', () => {
  const lane = filled(5)
  const batch = takeFrom('t', lane, rows(3), 0)
  if (batch === null) throw new Error('nothing taken')
  settleIn(lane, batch, 0, 0)
  expect(lane.settledTo).toBeNull()
})

test('a batch of another lane is not settled', () => {
  const batch = takeFrom('t', filled(5), rows(1), 0)
  if (batch === null) throw new Error('nothing taken')
  expect(settleIn(filled(5), batch, 1, 0)).toBe(false)
})

test('records are handed out when full, when the oldest has lingered, and when a held lane is released', () => {
  expect(readyInMs([createLane(0, 'g')], limits, 100)).toBeNull()
  expect(readyInMs([filled(1)], limits, 100)).toBe(50)
  expect(readyInMs([filled(1)], limits, 170)).toBe(0)
  expect(readyInMs([filled(1, 2), filled(3, 4)], limits, 100)).toBe(0)
  const held = filled(1)
  held.heldUntil = 130
  expect(readyInMs([held], limits, 100)).toBe(30)
})

test('small chunks are joined into one batch, up to either bound, and gaps between them are kept', () => {
  const lane = filled(1, 2)
  enqueue(lane, [message(5)], 9, 101)
  enqueue(lane, [message(9), message(10)], 11, 102)
  const batch = takeFrom('t', lane, rows(3), 0)
  if (batch === null) throw new Error('nothing taken')
  expect([0, 1, 2].map((i) => batch.offset(i))).toEqual([1, 2, 5])
  settleIn(lane, batch, 3, 0)
  expect(lane.settledTo).toBe(9)
  const bySize = takeFrom('t', lane, { maxRows: 10, maxBytes: 15 }, 0)
  expect([bySize?.length, bySize?.offset(0)]).toEqual([1, 9])
})

test('a record larger than the bound is handed out alone', () => {
  expect(takeFrom('t', filled(1, 2), { maxRows: 10, maxBytes: 1 }, 0)?.length).toBe(1)
})
