import { expect, test } from 'vitest'
import { openOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { memoryBatch } from '../support/memory-kafka.ts'

const batch = memoryBatch({ topic: 't', partition: 3, offsets: [10, 11, 13] })
const value = Buffer.from('v')
const rejection = { kind: 'rejected', reason: 'bad', message: 'field a' } as const

test('a sealed account has every record once, outputs and rejections in input order', () => {
  const outcome = openOutcome(batch, ['out'])
  outcome.reject(2, rejection)
  outcome.emit(0, 'out', null, value)
  outcome.emit(0, 'out', null, value)
  outcome.done(1)
  const sealed = outcome.seal()
  expect(sealed.settled).toBe(3)
  expect(sealed.emissions.get('out')?.map(({ index }) => index)).toEqual([0, 0])
  expect(sealed.rejections).toEqual([[2, rejection]])
})

test('a record without a fate is refused, naming where it is', () => {
  const outcome = openOutcome(batch, ['out'])
  outcome.done(0)
  outcome.done(2)
  expect(() => outcome.seal()).toThrow('record 1 of t/3 was given no fate')
})

test.each([
  ['emit and reject', (outcome: ReturnType<typeof openOutcome>) => outcome.emit(0, 'out', null, value)],
  ['done and reject', (outcome: ReturnType<typeof openOutcome>) => outcome.done(0)],
  ['reject twice', (outcome: ReturnType<typeof openOutcome>) => outcome.reject(0, rejection)],
])('two fates are refused: %s', (_, first) => {
  const outcome = openOutcome(batch, ['out'])
  first(outcome)
  expect(() => outcome.reject(0, rejection)).toThrow('record 0 of t/3 was given two fates')
})

test('an unknown output and an index outside the batch are refused', () => {
  const outcome = openOutcome(batch, ['out'])
  expect(() => outcome.emit(0, 'other', null, value)).toThrow('no output is named other')
  expect(() => outcome.done(3)).toThrow('record 3 of t/3 is not in the batch')
})

test('a deferral keeps what is before it and drops the fates behind it', () => {
  const outcome = openOutcome(batch, ['out'])
  outcome.emit(0, 'out', null, value)
  outcome.emit(2, 'out', null, value)
  outcome.defer(2, 'later', 'behind')
  outcome.defer(1, 'wait', 'no model')
  const sealed = outcome.seal()
  expect(sealed.settled).toBe(1)
  expect(sealed.deferral).toEqual({ index: 1, code: 'wait', message: 'no model' })
  expect(sealed.emissions.get('out')).toHaveLength(1)
})
