import { expect, test } from 'vitest'
import { createBatchPolicy } from '../../infra/runtime/kafka/batch-policy.ts'

const LIMITS = { maxRecords: 3, maxBytes: 100, lingerMs: 10 }

test('a batch is due when its oldest record has waited for the linger', () => {
  const policy = createBatchPolicy<string>(LIMITS)
  expect(policy.dueInMs(0)).toBeNull()
  policy.add('a', 1, 1_000)
  policy.add('b', 1, 1_008)
  expect(policy.dueInMs(1_004)).toBe(6)
  expect(policy.dueInMs(1_010)).toBe(0)
  expect(policy.take()).toEqual(['a', 'b'])
  expect(policy.dueInMs(2_000)).toBeNull()
})

test('a batch is due at once when it is full, by records or by bytes', () => {
  const byRecords = createBatchPolicy<number>(LIMITS)
  for (const entry of [1, 2, 3, 4]) byRecords.add(entry, 1, 0)
  expect(byRecords.dueInMs(0)).toBe(0)
  expect(byRecords.take()).toEqual([1, 2, 3])
  expect(byRecords.dueInMs(0)).toBe(10)

  const byBytes = createBatchPolicy<number>(LIMITS)
  byBytes.add(1, 60, 0)
  byBytes.add(2, 60, 0)
  expect(byBytes.dueInMs(0)).toBe(0)
  expect(byBytes.take()).toEqual([1])
  expect(byBytes.takeAll()).toEqual([2])
})

test('a record larger than a batch goes alone', () => {
  const policy = createBatchPolicy<string>(LIMITS)
  policy.add('large', 1_000, 0)
  policy.add('small', 1, 0)
  expect(policy.take()).toEqual(['large'])
  expect(policy.take()).toEqual(['small'])
})

test('what is hurried does not wait', () => {
  const policy = createBatchPolicy<string>(LIMITS)
  policy.add('a', 1, 1_000)
  policy.hurry()
  expect(policy.dueInMs(1_000)).toBe(0)
})

test('a policy without ceilings is refused', () => {
  expect(() => createBatchPolicy({ maxRecords: 0, maxBytes: 1, lingerMs: 0 })).toThrow(/records/)
  expect(() => createBatchPolicy({ maxRecords: 1, maxBytes: Number.POSITIVE_INFINITY, lingerMs: 0 })).toThrow(/bytes/)
  expect(() => createBatchPolicy({ maxRecords: 1, maxBytes: 1, lingerMs: 3_600_000 })).toThrow(/linger/)
})
