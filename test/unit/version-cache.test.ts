import { expect, test } from 'vitest'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { manualClock } from '../support/manual-clock.ts'
import { versionsOf } from '../support/versions-of.ts'

test('a version is loaded once for all who ask, and held', async () => {
  const { cache, opens } = versionsOf({ maxBytes: 100 })
  expect(cache.hold('a')).toBeNull()
  await Promise.all([cache.load('a'), cache.load('a')])
  await cache.load('a')
  expect(opens).toEqual(['a'])
  const held = cache.hold('a')
  expect(held?.version.manifest.version).toBe('a')
  held?.release()
  expect(() => held?.release()).toThrow('released twice')
})

test('the least recently used version makes room', async () => {
  const { cache, closed, use } = versionsOf({ maxBytes: 20 })
  await use('a')
  await use('b')
  await use('a')
  await use('c')
  expect(closed).toEqual(['b'])
  expect(cache.hold('b')).toBeNull()
  await use('b')
  expect(closed).toEqual(['b', 'a'])
})

test('to ask whether it is loaded is no use', async () => {
  const { cache, closed, use } = versionsOf({ maxBytes: 20 })
  await use('a')
  await use('b')
  expect([cache.has('a'), cache.has('c')]).toEqual([true, false])
  await use('c')
  expect(closed).toEqual(['a'])
  expect(cache.has('a')).toBe(false)
})

test('what is held or pinned stays above the budget, and goes when it is neither', async () => {
  const { cache, closed, use } = versionsOf({ maxBytes: 10 })
  await cache.load('a')
  const held = cache.hold('a')
  cache.pin(['b'])
  await use('b')
  await use('c')
  expect(closed).toEqual([])
  held?.release()
  expect(closed).toEqual(['a'])
  cache.pin([])
  expect(closed).toEqual(['a', 'b'])
  expect(cache.hold('c')).not.toBeNull()
})

test('a version that was asked for is not driven out before its caller comes, unless he does not', async () => {
  const clock = manualClock()
  const { cache, closed, use } = versionsOf({ maxBytes: 10, clock })
  cache.pin(['busy'])
  await use('busy')
  await cache.load('rare')
  await use('busy')
  expect(closed).toEqual([])
  clock.advance(30_000)
  await use('busy')
  expect(closed).toEqual(['rare'])
})

test('a version that has grown makes room when the cache is asked next', async () => {
  const sizes: Record<string, number> = { a: 5, b: 5 }
  const { cache, closed, use } = versionsOf({ maxBytes: 20, bytes: (id) => sizes[id] ?? 0 })
  await use('a')
  await use('b')
  cache.pin([])
  expect(closed).toEqual([])
  sizes['b'] = 16
  cache.pin([])
  expect(closed).toEqual(['a'])
})

test('a version that is for pins alone is closed as soon as it is neither pinned nor held', async () => {
  const { cache, closed, opens } = versionsOf({ maxBytes: 100, staysIdle: (id) => id !== 'shadow' })
  cache.pin(['shadow'])
  await cache.load('shadow')
  await cache.load('a')
  const held = cache.hold('shadow')
  cache.pin(['a'])
  expect(closed).toEqual([])
  held?.release()
  expect([closed, cache.has('shadow')]).toEqual([['shadow'], false])
  cache.pin([])
  expect(closed).toEqual(['shadow'])
  cache.pin(['shadow'])
  await cache.load('shadow')
  expect(opens).toEqual(['shadow', 'a', 'shadow'])
})

test('pins above the budget are said once', async () => {
  const lines: string[] = []
  const logger = { ...silentLogger, warn: (_fields: object, line: string) => void lines.push(line) }
  const { cache, closed, use } = versionsOf({ maxBytes: 15, logger })
  cache.pin(['a', 'b'])
  await use('a')
  expect(lines).toEqual([])
  await use('b')
  await use('a')
  expect(lines).toHaveLength(1)
  cache.pin(['a'])
  expect(closed).toEqual(['b'])
  cache.pin(['a', 'b'])
  await use('b')
  expect(lines).toHaveLength(2)
})

test('a load that fails leaves everything as it was, and may be tried again', async () => {
  const { cache, closed, failing, use } = versionsOf({ maxBytes: 10 })
  await use('a')
  failing.add('b')
  await expect(Promise.all([cache.load('b'), cache.load('b')])).rejects.toMatchObject({ message: 'b is broken' })
  expect(closed).toEqual([])
  expect(cache.hold('a')).not.toBeNull()
  failing.delete('b')
  await cache.load('b')
  expect(cache.hold('b')).not.toBeNull()
})

test('a version that is being loaded holds up no other', async () => {
  const { cache, blocked, use } = versionsOf({ maxBytes: 100 })
  const finish = blocked('slow')
  const slow = cache.load('slow')
  await use('a')
  expect(cache.hold('slow')).toBeNull()
  finish()
  await slow
  expect(cache.hold('slow')).not.toBeNull()
})

test('close waits for loads and holds, refuses new ones, and closes each once', async () => {
  const { cache, blocked, closed } = versionsOf({ maxBytes: 100 })
  await cache.load('a')
  await cache.load('b')
  const held = cache.hold('a')
  const finish = blocked('slow')
  const slow = cache.load('slow')
  let isClosed = false
  const closing = cache.close().then(() => {
    isClosed = true
  })
  await expect(cache.load('c')).rejects.toMatchObject({ code: 'models_closing', fate: 'retry' })
  expect(cache.hold('a')).toBeNull()
  finish()
  await slow
  await new Promise(setImmediate)
  expect(closed.toSorted()).toEqual(['b', 'slow'])
  expect(isClosed).toBe(false)
  held?.release()
  await closing
  await cache.close()
  expect(closed.toSorted()).toEqual(['a', 'b', 'slow'])
})
