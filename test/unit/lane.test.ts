import { expect, test } from 'vitest'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import { createLane, type Lane, readyInMs } from '../../infra/runtime/kafka/consumer/lane.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { columnsOf, type PlainRecord } from '../support/record-columns.ts'

const VALUE_BYTES = 10
const ALL = { maxRows: 1_000, maxBytes: 1_000_000 }

/** Records with these offsets; `next` lies behind them. */
function recordSet(
  offsets: readonly number[],
  next = (offsets.at(-1) ?? -1) + 1,
  headers: PlainRecord['headers'] = [],
) {
  const plain = offsets.map((offset) => ({
    timestamp: offset * 2,
    key: Buffer.from(`k${offset}`),
    value: Buffer.alloc(VALUE_BYTES, offset),
    headers,
  }))
  return {
    ...columnsOf(plain),
    offsets: Float64Array.from(offsets),
    markers: [],
    nextOffset: next,
  } as unknown as RecordSet
}

function filled(...sets: readonly (readonly number[])[]): Lane {
  const lane = createLane('t', 1, 'id')
  lane.begin(sets[0]?.[0] ?? 0)
  for (const offsets of sets) lane.accept(recordSet(offsets), 100)
  return lane
}

function take(lane: Lane, maxRows = 1_000, maxBytes = 1_000_000): ColumnBatch {
  const batch = lane.take({ maxRows, maxBytes })
  if (batch === null) throw new Error('nothing taken')
  return batch
}

const offsetsOf = (batch: ColumnBatch): number[] => [...batch.offsets]

test('a batch is a view of the record set: columns and accessors say the same', () => {
  const lane = createLane('t', 1, 'id')
  lane.begin(5)
  const set = recordSet([5, 6, 9], 12, [
    { key: 'a', value: Buffer.from('1') },
    { key: 'a', value: null },
    { key: 'b', value: Buffer.from('2') },
  ])
  lane.accept(set, 0)
  take(lane, 1)
  const batch = take(lane)
  expect([batch.topic, batch.partition, batch.generation, batch.length, batch.bytes]).toEqual(['t', 1, 'id', 2, 24])
  expect(batch.values.bytes).toBe(set.values.bytes)
  expect(batch.offsets.buffer).toBe(set.offsets.buffer)
  expect([batch.offset(1), batch.timestamp(1)]).toEqual([9, 18])
  expect([batch.key(0)?.toString(), batch.value(1)]).toEqual(['k6', Buffer.alloc(VALUE_BYTES, 9)])
  expect([batch.header(0, 'a'), batch.header(0, 'b')?.toString(), batch.header(0, 'c')]).toEqual([null, '2', null])
  expect(batch.headerNames(1)).toEqual(['a', 'a', 'b'])
  for (const row of [-1, 2, Number.NaN]) expect(() => batch.offset(row)).toThrow(RangeError)
})

test('batches end at the bounds and at the end of a record set, and hold one record at least', () => {
  const lane = filled([0, 1, 2, 3], [4, 5])
  expect(offsetsOf(take(lane, 3))).toEqual([0, 1, 2])
  expect(offsetsOf(take(lane, 3))).toEqual([3])
  expect(offsetsOf(take(lane, 3, 1))).toEqual([4])
  expect(lane.queuedRows).toBe(1)
  expect(lane.take({ maxRows: 0, maxBytes: 10 })).toBeNull()
  expect(offsetsOf(take(lane))).toEqual([5])
  expect([lane.take(ALL), lane.queuedRows, lane.batchesOut, lane.oldestAt]).toEqual([null, 0, 4, null])
})

test('next is what is left of the oldest record set, rows and bytes', () => {
  const lane = filled([0, 1, 2, 3], [4])
  const whole = lane.next()
  expect(whole).toEqual({ rows: 4, bytes: 4 * VALUE_BYTES })
  const lefts = [1, 2, 1, 1].map((maxRows) => {
    take(lane, maxRows)
    return lane.next()
  })
  expect(lefts).toEqual([3, 1, 1, 0].map((rows) => ({ rows, bytes: rows * VALUE_BYTES })))
})

test('what is settled moves over gaps, and memory is given back a record set at a time', () => {
  const lane = filled([0, 1], [5, 6])
  const held = lane.heldBytes
  const [first, second] = [take(lane), take(lane, 1)]
  expect(() => lane.settle(second)).toThrow('t/1')
  expect(lane.settle(first)).toBe(true)
  expect([lane.settled, lane.heldBytes]).toEqual([5, held / 2])
  expect(lane.settle(first)).toBe(false)
  expect(lane.settle(second)).toBe(true)
  expect([lane.settled, lane.heldBytes]).toEqual([6, held / 2])
  lane.settle(take(lane))
  expect([lane.settled, lane.fetchAt, lane.heldBytes]).toEqual([7, 7, 0])
})

test('markers and compacted records move the position, at once when nothing else is there', () => {
  const lane = filled([0, 1])
  lane.accept(recordSet([], 4), 100)
  expect([lane.settled, lane.fetchAt]).toEqual([0, 4])
  lane.settle(take(lane))
  expect(lane.settled).toBe(4)
  lane.accept(recordSet([], 9), 100)
  expect([lane.settled, lane.fetchAt]).toEqual([9, 9])
  lane.skipTo(20)
  expect([lane.settled, lane.fetchAt]).toEqual([20, 20])
})

test('a rewind hands out from memory again what is not settled', () => {
  const lane = filled([0, 1, 2, 3], [4, 5])
  const settled = take(lane, 1)
  const stale = [take(lane, 2), take(lane, 1), take(lane)]
  lane.settle(settled)
  expect(lane.rewind(2, 500)).toBe(false)
  for (const batch of stale) expect([lane.owns(batch), lane.settle(batch)]).toEqual([false, false])
  expect([lane.settled, lane.fetchAt, lane.heldUntil, lane.queuedRows]).toEqual([2, 6, 500, 4])
  expect([offsetsOf(take(lane)), offsetsOf(take(lane))]).toEqual([
    [2, 3],
    [4, 5],
  ])
  expect(lane.rewind(6, 0)).toBe(false)
  expect([lane.settled, lane.heldBytes, lane.take(ALL)]).toEqual([6, 0, null])
})

test('a rewind into a gap begins at the next record', () => {
  const lane = filled([0, 1], [8, 9])
  take(lane)
  expect(lane.rewind(5, 0)).toBe(false)
  expect([lane.settled, offsetsOf(take(lane))]).toEqual([8, [8, 9]])
})

test.each([4, 30])('what is not in memory has to be fetched again: a rewind to %i', (offset) => {
  const lane = filled([10, 11])
  take(lane)
  expect(lane.rewind(offset, 0)).toBe(true)
  expect([lane.settled, lane.fetchAt, lane.heldBytes, lane.queuedRows, lane.batchesOut]).toEqual([
    offset,
    offset,
    0,
    0,
    0,
  ])
})

test('every order of takes, settles and rewinds hands out each record until it is settled, in order', () => {
  const lane = filled([0, 1, 2], [3, 4, 5, 6], [7], [8, 9])
  let seed = 7
  const random = (bound: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % bound
  }
  const out: ColumnBatch[] = []
  let next = 0
  let settled = 0
  for (let step = 0; step < 5_000 && settled < 10; step++) {
    const batch = random(3) === 0 ? null : lane.take({ maxRows: 1 + random(3), maxBytes: 1_000 })
    if (batch !== null) {
      for (const offset of batch.offsets) expect(offset).toBe(next++)
      out.push(batch)
    } else if (random(4) === 0 && out.length > 0) {
      const oldest = out.shift() as ColumnBatch
      expect(lane.settle(oldest)).toBe(true)
      settled = (oldest.offsets.at(-1) as number) + 1
    } else if (random(20) === 0) {
      next = settled + random(next - settled + 1)
      settled = next
      out.length = 0
      lane.rewind(next, 0)
    }
    expect(lane.settled).toBe(settled)
  }
  expect([lane.settled, lane.heldBytes]).toEqual([10, 0])
})

test('the queue is ready when it is full, old enough, or its hold is over', () => {
  const limits = { maxRows: 4, maxBytes: 100_000, lingerMs: 50 }
  const lane = filled([0, 1])
  expect(readyInMs([lane], limits, 4, 100)).toBe(50)
  expect(readyInMs([lane], limits, 4, 170)).toBe(0)
  expect(readyInMs([lane, filled([0, 1])], limits, 4, 100)).toBe(0)
  expect(readyInMs([lane], { ...limits, maxBytes: 10 }, 4, 100)).toBe(0)
  take(lane, 1)
  expect(readyInMs([lane], limits, 1, 170)).toBeNull()
  lane.rewind(0, 300)
  expect(readyInMs([lane], limits, 4, 100)).toBe(200)
  expect(readyInMs([filled()], limits, 4, 100)).toBeNull()
})
