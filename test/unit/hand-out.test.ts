import { expect, test } from 'vitest'
import { createHandOut, type HandOut } from '../../infra/runtime/kafka/consumer/hand-out.ts'
import { type OwnedLane, ownedLane } from '../../infra/runtime/kafka/consumer/owned-lane.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { columnsOf } from '../support/record-columns.ts'

const NOW = 1_000
const VALUE_BYTES = 10

/** Lanes that were fetched once, with so many records each. */
function lanesOf(counts: readonly number[]): readonly OwnedLane[] {
  return counts.map((count, partition) => {
    const lane = ownedLane('t', partition, 'id', NOW)
    lane.records.begin(0)
    const plain = Array.from({ length: count }, () => ({
      timestamp: 0,
      key: null,
      value: Buffer.alloc(VALUE_BYTES),
      headers: [],
    }))
    const offsets = Float64Array.from(plain.keys())
    const set = { ...columnsOf(plain), offsets, markers: [], nextOffset: count } as unknown as RecordSet
    lane.records.accept(set, NOW)
    return lane
  })
}

function handOutOf(counts: readonly number[]): HandOut {
  const lanes = lanesOf(counts)
  const clock = {
    now: () => NOW,
    monotonic: () => NOW,
    sleep: () => Promise.reject(new Error('nothing is waited for')),
  }
  const membership = { trusted: () => true, trust: () => Promise.resolve() }
  return createHandOut({ clock, maxBatchesOut: 10, membership, lanes: () => lanes })
}

async function taken(
  handOut: HandOut,
  maxRows: number,
  maxBytes = 1_000_000,
): Promise<readonly (readonly [number, number])[]> {
  const batches = await handOut.take({ maxRows, maxBytes, lingerMs: 0 })
  return batches.map(({ partition, length }) => [partition, length])
}

test('lanes that are short are handed out together, and what did not fit comes next', async () => {
  const handOut = handOutOf([3, 2, 1, 4])
  expect(await taken(handOut, 8)).toEqual([
    [0, 3],
    [1, 2],
    [2, 1],
  ])
  expect(await taken(handOut, 8)).toEqual([[3, 4]])
})

test('what does not fit into what is left stays whole, and those behind it that fit go first', async () => {
  const handOut = handOutOf([5, 6, 2])
  expect(await taken(handOut, 8)).toEqual([
    [0, 5],
    [2, 2],
  ])
  expect(await taken(handOut, 8)).toEqual([[1, 6]])
})

test('lanes that are behind are handed out one at a time, in equal parts', async () => {
  const handOut = handOutOf([10, 9])
  const rounds: unknown[] = []
  for (let round = 0; round < 4; round++) rounds.push(await taken(handOut, 8))
  expect(rounds).toEqual([[[0, 5]], [[1, 5]], [[0, 5]], [[1, 4]]])
})

test('a part of a lane that is behind goes with those that are short', async () => {
  const handOut = handOutOf([1, 9, 2])
  expect(await taken(handOut, 8)).toEqual([
    [0, 1],
    [1, 5],
    [2, 2],
  ])
  expect(await taken(handOut, 8)).toEqual([[1, 4]])
})

test('parts are equal in bytes, too, and none is cut for want of bytes', async () => {
  const handOut = handOutOf([7, 3, 2])
  const rounds: unknown[] = []
  for (let round = 0; round < 3; round++) rounds.push(await taken(handOut, 100, 5 * VALUE_BYTES))
  expect(rounds).toEqual([
    [[0, 4]],
    [
      [1, 3],
      [2, 2],
    ],
    [[0, 3]],
  ])
})

test('every lane has its turn, whatever the others have', async () => {
  const counts = [1, 40, 1, 25, 3]
  const handOut = handOutOf(counts)
  const begun = new Set<number>()
  for (let round = 0; round < counts.length; round++) {
    for (const [partition] of await taken(handOut, 4)) begun.add(partition)
  }
  expect([...begun].sort()).toEqual([0, 1, 2, 3, 4])
})
