import fc from 'fast-check'
import { expect, test } from 'vitest'
import { openOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { createRecentIds } from '../../processors/dedupe/recent-ids.ts'
import { withoutRepeats } from '../../processors/dedupe/without-repeats.ts'
import { memoryBatch } from '../support/memory-kafka.ts'

/** A log of events: the id of each offset, null = a gap or a record without one. */
const logs = fc.array(fc.option(fc.constantFrom('a', 'b', 'c', 'd', 'e')), { minLength: 1, maxLength: 80 })

function isRepeatIn(log: readonly (string | null)[], window: number, offset: number): boolean {
  const id = log[offset]
  return id !== null && id !== undefined && log.slice(Math.max(0, offset - window), offset).includes(id)
}

test('whatever was read before and however often a lane goes back, the log alone decides', () => {
  fc.assert(
    fc.property(logs, fc.integer({ min: 1, max: 12 }), fc.array(fc.nat(), { maxLength: 12 }), (log, window, jumps) => {
      const ids = createRecentIds(window)
      const read = (offset: number): boolean => {
        const id = log[offset] ?? null
        return id !== null && ids.isRepeat(offset, id)
      }
      const begin = (from: number): void => {
        const missing = ids.rewind(from)
        for (let offset = missing?.from ?? 0; offset < (missing?.to ?? 0); offset++) read(offset)
      }
      for (const jump of [...jumps, 0]) {
        const from = jump % log.length
        begin(from)
        const to = jump === 0 ? log.length : Math.min(log.length, from + 1 + (jump % 30))
        for (let offset = from; offset < to; offset++) {
          expect(read(offset)).toBe(isRepeatIn(log, window, offset))
          // handed in again, as after a retry
          expect(read(offset)).toBe(isRepeatIn(log, window, offset))
        }
      }
    }),
  )
})

test('the second event of an id is filtered, in columns and one by one; a replay and a rejected record keep their end', async () => {
  const replay = { 'millrace-replay-of': Buffer.from('flights.dead-letters-0-7') }
  const ids = ['x', 'y', 'x', 'x', 'y', 'z', 'z']
  const batch = memoryBatch({
    topic: 'events',
    partition: 3,
    records: ids.map((id, at) => ({ value: Buffer.from(id), ...(at === 3 ? { headers: replay } : {}) })),
  })
  const handler = withoutRepeats(
    {
      async handle([outcome]) {
        outcome?.emit(6, 'out', null, Buffer.from('6'), { eventId: 'z' })
        outcome?.reject(4, { kind: 'rejected', reason: 'bad', message: '', eventId: 'y' })
        outcome?.emitColumns('out', {
          length: 5,
          sources: Int32Array.of(0, 1, 2, 3, 5),
          keys: { bytes: batch.values.bytes, starts: new Int32Array(5), lengths: new Int32Array(5).fill(-1) },
          values: {
            bytes: Buffer.from('01235'),
            starts: Int32Array.of(0, 1, 2, 3, 4),
            lengths: new Int32Array(5).fill(1),
          },
          subjectOf: (row) => ({ eventId: ids[[0, 1, 2, 3, 5][row] as number] as string }),
        })
      },
    },
    { window: 100, replayOfHeader: 'millrace-replay-of', readBack: async function* () {} },
  )
  const outcome = openOutcome(batch, ['out'])
  await handler.begin?.(3, 0, 0, new AbortController().signal)
  await handler.handle([outcome])
  const sealed = outcome.seal()
  expect(sealed.rejections.map(([index, { kind, reason, eventId }]) => [index, kind, reason, eventId])).toEqual([
    [2, 'filtered', 'duplicate_event_id', 'x'],
    [4, 'rejected', 'bad', 'y'],
    [6, 'filtered', 'duplicate_event_id', 'z'],
  ])
  const [rows] = sealed.columns.get('out') ?? []
  expect([...(rows?.sources ?? [])]).toEqual([0, 1, 3, 5])
  expect(sealed.emissions.get('out')).toEqual([])
})

test('an id of one tenant repeats none of another', async () => {
  const owners = ['acme', 'zenith', 'acme']
  const batch = memoryBatch({ topic: 'events', partition: 0, records: owners.map(() => ({ value: Buffer.from('x') })) })
  const handler = withoutRepeats(
    {
      async handle([outcome]) {
        for (const [index, tenant] of owners.entries()) {
          outcome?.emit(index, 'out', null, Buffer.from('x'), { eventId: 'order-1', tenant })
        }
      },
    },
    { window: 100, replayOfHeader: 'millrace-replay-of', readBack: async function* () {} },
  )
  const outcome = openOutcome(batch, ['out'])
  await handler.begin?.(0, 0, 0, new AbortController().signal)
  await handler.handle([outcome])
  const { rejections } = outcome.seal()
  expect(rejections.map(([index, { reason, tenant }]) => [index, reason, tenant])).toEqual([
    [2, 'duplicate_event_id', 'acme'],
  ])
})
