import { expect, test } from 'vitest'
import { createAvailability } from '../../processors/lookups/availability.ts'
import { createRowCache } from '../../processors/lookups/row-cache.ts'
import { usableAt } from '../../processors/lookups/tables.ts'

test('a row is usable from its own time until it is too old, at the event’s time', () => {
  const row = { time: 1_000, record: { c: 1 } }
  expect(usableAt(row, 1_000, 50)).toBe(row.record)
  expect(usableAt(row, 1_050, 50)).toBe(row.record)
  expect(usableAt(row, 1_051, 50)).toBeNull()
  // known only after the event: the model must not see it
  expect(usableAt(row, 999, 50)).toBeNull()
  expect(usableAt({ ...row, time: null }, 1_000, 50)).toBeNull()
  expect(usableAt(null, 1_000, 50)).toBeNull()
})

test('the cache drops what was not used for longest, and everything after a while', () => {
  let now = 0
  const cache = createRowCache<number>({ maxEntries: 2, ttlMs: 10, now: () => now })
  cache.set('a', 1)
  cache.set('b', 2)
  expect(cache.get('a')).toBe(1)
  cache.set('c', 3)
  expect(['a', 'b', 'c'].map((key) => cache.get(key))).toEqual([1, undefined, 3])
  now = 9
  cache.set('c', 4)
  now = 10
  expect([cache.get('a'), cache.get('c')]).toEqual([undefined, 4])
})

test('a cache of no entries keeps none', () => {
  const cache = createRowCache<number>({ maxEntries: 0, ttlMs: 10, now: () => 0 })
  cache.set('a', 1)
  expect(cache.get('a')).toBeUndefined()
})

test('a table that is unavailable is waited for, then done without, until it answers', () => {
  let now = 100
  const table = createAvailability({ policy: 'degrade', afterMs: 50 }, () => now)
  expect(table.failed()).toBe('waiting')
  now = 149
  expect(table.failed()).toBe('waiting')
  now = 150
  expect(table.failed()).toBe('degraded')
  now = 10_000
  expect(table.failed()).toBe('degraded')
  expect(table.answered()).toBe('available')
  expect(table.failed()).toBe('waiting')
})

test('with the pause policy it is waited for without end', () => {
  let now = 0
  const table = createAvailability({ policy: 'pause' }, () => now)
  table.failed()
  now = 1e9
  expect(table.failed()).toBe('waiting')
})
