import { expect, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import { readOptions } from '../../infra/sample/replay/options.ts'
import { parseReplayLine } from '../../infra/sample/replay/progress.ts'
import { untilTablesLoaded } from '../../infra/sample/replay/tables-loaded.ts'
import { manualClock } from '../support/manual-clock.ts'

test('a limited replay begins in the middle of March, another at the first event', () => {
  expect(readOptions(['--limit', '50', '--rate', '20'])).toEqual({
    folder: null,
    from: Date.UTC(2013, 2, 15),
    limit: 50,
    perSecond: 20,
  })
  expect(readOptions(['--pipeline', 'p', '--rate', 'max'])).toEqual({
    folder: 'p',
    from: null,
    limit: Number.POSITIVE_INFINITY,
    perSecond: null,
  })
  expect(readOptions(['--from', '2013-06-01T12:00:00Z'])?.from).toBe(Date.UTC(2013, 5, 1, 12))
  expect(readOptions(['--help'])).toBeNull()
})

test.each([
  [['--limit', '0'], '--limit 0: must be a whole number above 0'],
  [['--rate', 'fast'], '--rate fast: must be a whole number above 0'],
  [['--from', 'March'], '--from March: must be a date like 2013-03-15'],
  [['--speed', '1'], "Unknown option '--speed'"],
])('%j is refused', (args, message) => {
  expect(() => readOptions(args)).toThrow(message)
})

test('lines of the replay are told from others', () => {
  const progress = { sent: 1, labels: 0, rows: 3, eventTime: null }
  expect(parseReplayLine(JSON.stringify(progress))).toEqual(progress)
  for (const line of ['', 'starting', '{"level":30}', '{', '"sent"', 'null']) expect(parseReplayLine(line)).toBeNull()
})

function loading(hash: () => Readonly<Record<string, string>>, ready: () => Buffer | null, withinMs = 1_000) {
  return untilTablesLoaded({
    pipeline: 'flights',
    tables: [
      {
        name: 'weather',
        generation: 'g2',
        producer: { partitions: new Map([[1, { records: 3, end: 7 }]]), flush: async () => {} },
      },
    ],
    redis: { getHash: async () => hash(), getMany: async () => [[ready()]] },
    clock: manualClock(),
    withinMs,
    signal: new AbortController().signal,
  })
}

test('the replay waits until Redis has every row that was sent', async () => {
  const positions = [{}, { '1': 'g1:9' }, { '1': 'g2:6' }, { '1': 'g2:7', '0': 'g2:1' }]
  await loading(
    () => positions.shift() ?? {},
    () => Buffer.from('1'),
  )
  expect(positions).toEqual([])
})

test('it asks again while Redis is away', async () => {
  let asked = 0
  await loading(
    () => {
      if (asked++ < 3) throw retryable('redis_unavailable', 'away')
      return { '1': 'g2:7' }
    },
    () => Buffer.from('1'),
  )
  expect(asked).toBe(4)
})

test.each([
  [{ '1': 'g2:6' }, Buffer.from('1'), 'partition 1 is at offset 6 of 7'],
  [{ '1': 'g1:7' }, Buffer.from('1'), 'partition 1 has not been read'],
  [{ '1': 'g2:7' }, null, 'its topic has not been read to the end'],
])('%j is not enough, and the replay says so', async (hash, ready, message) => {
  const wait = loading(
    () => hash,
    () => ready,
  )
  await expect(wait).rejects.toThrow(`table weather is not in Redis after 1 s: ${message}. Do the sinks run?`)
})
