import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { outgoing } from '../../infra/runtime/kafka/hop/outgoing.ts'
import { type EmittedColumns, type Outcome, openOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { type RecordColumns, sliceAt, slicesOf } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryBatch } from '../support/memory-kafka.ts'

const type = parseAvroSchema(await readContract('dead-letter'), 'dead-letter')
const deadLetters = {
  stage: 's',
  pipeline: 'p',
  type,
  schemaId: 7,
  replayOfHeader: 'millrace-replay-of',
  clock: manualClock(),
}

function partsOf(records: number, decide: (outcome: Outcome) => void, outputBatchBytes = 10_000) {
  const offsets = Array.from({ length: records }, (_, index) => 100 + 10 * index)
  const outcome = openOutcome(memoryBatch({ topic: 't', partition: 0, offsets }), ['out'])
  decide(outcome)
  const limits = { outputBatchBytes, deadLetterBatchBytes: 10_000 }
  const { parts, rejections } = outgoing(outcome.seal(), { output: 'out', deadLetters, attempts: 1, now: 0, limits })
  return {
    rejections,
    parts: parts.map((part) => ({
      outputs: texts(part.outputs),
      letters: letters(part.deadLetters).map(({ source_offset }) => source_offset),
      upTo: part.upTo,
    })),
  }
}

function letters(records: RecordColumns | null): DeadLetter[] {
  return Array.from({ length: records?.length ?? 0 }, (_, row) => {
    const value = records === null ? null : sliceAt(records.values, row)
    return type.readerOf(type)(value ?? Buffer.alloc(0)) as DeadLetter
  })
}

function texts(records: RecordColumns | null): string[] {
  return Array.from({ length: records?.length ?? 0 }, (_, row) => `${records && sliceAt(records.values, row)}`)
}

const columns = (...rows: [source: number, value: string][]): EmittedColumns => ({
  length: rows.length,
  sources: Int32Array.from(rows, ([source]) => source),
  keys: slicesOf(rows.map(() => null)),
  values: slicesOf(rows.map(([, value]) => Buffer.from(value))),
  subjectOf: (row) => ({ eventId: `e${rows[row]?.[0]}` }),
})

test('outputs go in the order of the input, however they were emitted, with the dead letters beside them', () => {
  const { parts } = partsOf(5, (outcome) => {
    outcome.emit(3, 'out', null, Buffer.from('d'))
    outcome.emit(0, 'out', null, Buffer.from('a'))
    outcome.emitColumns('out', columns([1, 'b'], [4, 'e']))
    outcome.emitColumns('out', columns([4, 'f']))
    outcome.reject(2, { kind: 'rejected', reason: 'bad', message: '' })
  })
  expect(parts).toEqual([{ outputs: ['a', 'b', 'd', 'e', 'f'], letters: [120], upTo: 141 }])
})

test('a part holds what a broker takes; all outputs of a record are in one, and it says up to where the input has ended', () => {
  const big = 'x'.repeat(300)
  const { parts } = partsOf(
    4,
    (outcome) => {
      outcome.emitColumns('out', columns([0, big], [1, big], [1, 'y'], [3, 'z']))
      outcome.reject(2, { kind: 'rejected', reason: 'bad', message: '' })
    },
    420,
  )
  expect(parts).toEqual([
    { outputs: [big], letters: [], upTo: 110 },
    { outputs: [big, 'y'], letters: [120], upTo: 130 },
    { outputs: ['z'], letters: [], upTo: 131 },
  ])
})

test('a record whose outputs no broker takes becomes a dead letter, with none of them written', () => {
  const { parts, rejections } = partsOf(
    3,
    (outcome) => {
      outcome.emitColumns('out', columns([0, 'a'], [1, 'b'], [1, 'x'.repeat(500)], [2, 'c']))
    },
    450,
  )
  expect(parts).toEqual([{ outputs: ['a', 'c'], letters: [110], upTo: 121 }])
  expect(rejections.map(([index, { reason, eventId }]) => [index, reason, eventId])).toEqual([
    [1, 'record_too_large', 'e1'],
  ])
})

test('what lies behind a deferral is not written', () => {
  const { parts } = partsOf(4, (outcome) => {
    outcome.emitColumns('out', columns([0, 'a'], [1, 'b'], [2, 'c'], [3, 'd']))
    outcome.defer(2, 'not_now', 'waits')
  })
  expect(parts).toEqual([{ outputs: ['a', 'b'], letters: [], upTo: 120 }])
  expect(partsOf(1, (outcome) => outcome.defer(0, 'not_now', 'waits')).parts).toEqual([])
})

test('columns with room to spare say the same as exact ones', () => {
  const { parts } = partsOf(3, (outcome) => {
    const rows = columns([0, 'a'], [2, 'c'])
    outcome.emitColumns('out', { ...rows, sources: Int32Array.of(0, 2, 0) })
    outcome.reject(1, { kind: 'rejected', reason: 'bad', message: '' })
  })
  expect(parts).toEqual([{ outputs: ['a', 'c'], letters: [110], upTo: 121 }])
})
