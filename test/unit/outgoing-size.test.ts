import { expect, test } from 'vitest'
import { openOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { rejectOversized, roundsBySize } from '../../infra/runtime/kafka/outgoing-size.ts'
import { memoryBatch } from '../support/memory-kafka.ts'

const record = (bytes: number, name = '') => ({ key: Buffer.from(name), value: Buffer.alloc(bytes) })

test('batches are cut where they would be too large, partitions side by side, in their order', () => {
  const rounds = roundsBySize(
    [
      { topic: 't', partition: 0, records: [record(100, 'a'), record(100, 'b'), record(300, 'c'), record(100, 'd')] },
      { topic: 't', partition: 1, records: [record(100, 'e')] },
      { topic: 't', partition: 2, records: [] },
    ],
    310,
  )
  const shape = rounds.map((round) =>
    round.map(({ partition, records }) => [partition, records.map(({ key }) => `${key}`)]),
  )
  expect(shape).toEqual([
    [
      [0, ['a', 'b']],
      [1, ['e']],
    ],
    [[0, ['c']]],
    [[0, ['d']]],
  ])
})

test('a record whose output no broker takes becomes a dead letter, with none of its outputs written', () => {
  const outcome = openOutcome(memoryBatch({ topic: 't', partition: 0, offsets: [1, 2, 3] }), ['a', 'b'])
  outcome.emit(0, 'a', null, Buffer.alloc(10))
  outcome.emit(1, 'a', null, Buffer.alloc(10))
  outcome.emit(1, 'b', null, Buffer.alloc(1_000_000), { eventId: 'e1', origin: { generation: 'g', offset: 7 } })
  outcome.reject(2, { kind: 'rejected', reason: 'other', message: '' })
  const { emissions, rejections } = rejectOversized(outcome.seal())
  expect([...emissions.values()].map((list) => list.map(({ index }) => index))).toEqual([[0], []])
  expect(rejections[0]?.[1]).toMatchObject({ eventId: 'e1', origin: { generation: 'g', offset: 7 } })
  expect(rejections.map(([index, { reason }]) => [index, reason])).toEqual([
    [1, 'record_too_large'],
    [2, 'other'],
  ])
})
