import { expect, test } from 'vitest'
import { type LetterFilter, matches } from '../../infra/cli/dlq/filter.ts'
import type { LetterReader, StoredLetter } from '../../infra/cli/dlq/read-letters.ts'
import { type ReplayOptions, replayLetters } from '../../infra/cli/dlq/replay.ts'
import { countLines } from '../../infra/cli/dlq/text.ts'
import type { OutgoingBatch, RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { letterPlaceText, parseLetterPlace } from '../../schemas/headers.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { type LoggedRecord, memoryLog } from '../support/memory-log.ts'
import { FLIGHTS } from '../support/pipeline-copy.ts'

const EVENTS = 'flights.events'
const LETTERS = 'flights.dead-letters'
const pipeline = await loadPipeline(FLIGHTS)

function letterOf(change: Partial<DeadLetter> = {}): DeadLetter {
  return {
    stage: 'processors',
    pipeline: 'flights',
    reason: 'undecodable',
    kind: 'rejected',
    message: '',
    tenant: 'main',
    event_id: 'e1',
    topic: EVENTS,
    partition: 0,
    source_generation: 'now',
    source_offset: 3,
    origin_generation: 'now',
    origin_offset: 3,
    schema_id: 1,
    key: Buffer.from('key'),
    value: Buffer.from('value'),
    headers: { from: Buffer.from('upstream') },
    attempts: 1,
    failed_at: 0,
    replay_of: null,
    original_bytes: null,
    ...change,
  }
}

/** Letters of partition 0 at offsets 0, 1, …; events that the log still has. */
function world(letters: readonly DeadLetter[], events: readonly LoggedRecord[] = [], eventsStart = 0) {
  const stored = letters.map(
    (letter, offset): StoredLetter => ({ topic: LETTERS, partition: 0, offset, appendedAt: 1_000 + offset, letter }),
  )
  const reader: LetterReader = {
    topic: LETTERS,
    partitions: 1,
    unreadable: () => 0,
    async *read(partition, filter) {
      for (const one of stored) if (matches(filter, one.letter, partition, one.appendedAt)) yield one
    },
  }
  const written: OutgoingBatch[] = []
  const writer: RecordWriter = {
    async write(batches) {
      written.push(...batches)
      return batches.map(({ topic, partition }) => ({ topic, partition, baseOffset: 0, appendedAt: -1 }))
    },
  }
  const slept: number[] = []
  const log = memoryLog(new Map([[`${EVENTS}/0`, events]]), () => eventsStart)
  const deps = {
    pipeline,
    admin: { offsetsAt: async () => new Map([[0, eventsStart]]) } as never,
    reader: log,
    letters: reader,
    writer,
    generation: 'now',
    clock: { now: () => 0, monotonic: () => 0, sleep: async (ms: number) => void slept.push(ms) },
  }
  const replay = (options: Partial<ReplayOptions> = {}) =>
    replayLetters(deps, { filter: {}, dryRun: false, again: false, limit: null, rate: null, ...options })
  return { replay, written, slept }
}

const recordsOf = (written: readonly OutgoingBatch[]) => written.flatMap(({ records }) => records)

test('a letter of processors is replayed with its own key, bytes and headers, and the name of the letter', async () => {
  const { replay, written } = world([letterOf()])
  expect(await replay()).toMatchObject({ matched: 1, replayed: 1 })
  expect(written).toMatchObject([{ topic: EVENTS, partition: 0 }])
  expect(recordsOf(written)).toEqual([
    {
      key: Buffer.from('key'),
      value: Buffer.from('value'),
      headers: { from: Buffer.from('upstream'), 'millrace-replay-of': Buffer.from('flights.dead-letters-0-0') },
    },
  ])
})

test('of what inference rejected, was filtered or was cut, the event itself is replayed', async () => {
  const event = { offset: 3, key: Buffer.from('k'), value: Buffer.from('event'), headers: [{ key: 'a', value: null }] }
  const { replay, written } = world(
    [
      letterOf({ stage: 'inference', topic: 'flights.features', source_offset: 77 }),
      letterOf({ kind: 'filtered', value: Buffer.alloc(0) }),
      letterOf({ original_bytes: 5_000_000 }),
    ],
    [event],
  )
  expect(await replay()).toMatchObject({ replayed: 3 })
  for (const { key, value, headers } of recordsOf(written)) {
    expect([`${key}`, `${value}`]).toEqual(['k', 'event'])
    expect(headers?.['a']).toEqual(Buffer.alloc(0))
  }
})

test('what cannot be replayed is refused with its reason', async () => {
  const { replay, written } = world(
    [
      letterOf({ stage: 'sinks', kind: 'unstored', topic: 'flights.predictions' }),
      letterOf({ kind: 'retention_lost' }),
      letterOf({ stage: 'inference', topic: 'flights.features', origin_offset: -1 }),
      // below the start of the log, of a topic that was made anew, cut and gone
      letterOf({ stage: 'inference', topic: 'flights.features', origin_offset: 3 }),
      letterOf({ stage: 'inference', topic: 'flights.features', origin_generation: 'before', origin_offset: 30 }),
      letterOf({ original_bytes: 5_000_000 }),
      // empty, and so it was
      letterOf({ value: Buffer.alloc(0) }),
    ],
    [{ offset: 30, value: Buffer.from('event') }],
    20,
  )
  const counts = await replay()
  expect(Object.fromEntries(counts.refused)).toEqual({ unstored: 1, no_bytes: 1, no_event: 1, gone: 3 })
  expect(recordsOf(written).map(({ value }) => value.length)).toEqual([0])
  expect(countLines(counts, false).join('\n')).toMatch(/not replayable +3: its event is no longer in the events topic/)
})

test('what was replayed before is left out, unless it is asked for again', async () => {
  const replayOf = { key: 'millrace-replay-of', value: Buffer.from('flights.dead-letters-0-1') }
  const { replay, written } = world([letterOf(), letterOf(), letterOf()], [{ offset: 9, headers: [replayOf] }])
  expect(await replay({ dryRun: true })).toMatchObject({ matched: 3, replayed: 2, replayedBefore: 1 })
  expect(await replay({ dryRun: true, again: true })).toMatchObject({ replayed: 3, replayedBefore: 0 })
  expect(await replay({ dryRun: true, limit: 1 })).toMatchObject({ replayed: 1, replayedBefore: 1, left: 1 })
  expect(written).toEqual([])
})

test('a rate is kept by waiting before each write', async () => {
  const { replay, written, slept } = world(Array.from({ length: 10 }, () => letterOf()))
  expect(await replay({ rate: 40 })).toMatchObject({ replayed: 10 })
  expect(written.map(({ records }) => records.length)).toEqual([4, 4, 2])
  expect(slept).toEqual([0, 100, 200])
})

test('each condition of a filter counts', () => {
  const letter = letterOf()
  const holds = (filter: LetterFilter): boolean => matches(filter, letter, 2, 1_000)
  expect(holds({})).toBe(true)
  const right = { reason: 'undecodable', kind: 'rejected', stage: 'processors', tenant: 'main', partition: 2, id: 'e1' }
  expect(holds({ ...right, from: 1_000, to: 1_001 })).toBe(true)
  for (const name of Object.keys(right))
    expect(holds({ ...right, [name]: name === 'partition' ? 3 : 'x' }), name).toBe(false)
  expect(holds({ from: 1_001 })).toBe(false)
  expect(holds({ to: 1_000 })).toBe(false)
})

test('the place of a letter is read as it is written, whatever the topic is called', () => {
  const place = { topic: 'my-flights-2.dead-letters', partition: 12, offset: 345 }
  expect(parseLetterPlace(letterPlaceText(place))).toEqual(place)
  for (const text of ['', '3-4', 'a-b', 'a-1', 'a-1-x', 'a-1-1x']) expect(parseLetterPlace(text), text).toBeNull()
})
