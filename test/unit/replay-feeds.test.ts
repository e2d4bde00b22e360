import { expect, test } from 'vitest'
import { createLabelFeed } from '../../infra/sample/replay/label-feed.ts'
import { createPace } from '../../infra/sample/replay/pace.ts'
import { replayEvents } from '../../infra/sample/replay/replay-events.ts'
import { createTableFeed } from '../../infra/sample/replay/table-feed.ts'
import { type DataRecord, openTimedRecords, type TimedRecords } from '../../infra/sample/replay/timed-records.ts'
import { manualClock } from '../support/manual-clock.ts'

async function* each<T>(records: readonly T[]): AsyncGenerator<unknown> {
  yield* records
}
const timed = (records: readonly DataRecord[]): Promise<TimedRecords> => openTimedRecords(each(records), 'test', 'at')
const rows = (times: readonly number[]): Promise<TimedRecords> => timed(times.map((at) => ({ at })))

test('records come in order, from a time on', async () => {
  const records = await rows([1, 2, 2, 5])
  await records.skipTo(2)
  expect(records.head).toEqual({ time: 2, record: { at: 2 } })
  await records.skipTo(3)
  expect(records.head?.time).toBe(5)
  await records.advance()
  expect(records.head).toBeNull()
})

test('data that is not in order of its time is refused, naming the record', async () => {
  const records = await rows([1, 5, 4])
  await records.advance()
  await expect(records.advance()).rejects.toThrow('test is not in the order of at: record 3')
  await expect(timed([{ at: 'noon' }])).rejects.toThrow('record 1 of test has no at')
})

test('a pace gives out events by the clock, and catches up with a second at most', () => {
  const pace = createPace(100, 1_000)
  expect(pace.take(1_000, 500)).toBe(1)
  expect(pace.take(1_005, 500)).toBe(0)
  expect(pace.waitMs(1_005)).toBe(5)
  expect(pace.take(1_050, 500)).toBe(5)
  expect(pace.take(61_050, 500)).toBe(101)
  expect(pace.take(61_050, 500)).toBe(0)
})

test('a slow pace is kept over many takes, and max is no pace', () => {
  const pace = createPace(3, 0)
  let taken = 0
  for (let now = 0; now < 100_000; now += 7) taken += pace.take(now, 500)
  expect(taken).toBe(300)
  expect(createPace(null, 0).take(0, 500)).toBe(500)
  expect(createPace(null, 0).waitMs(0)).toBe(0)
})

test('rows are ahead of the events, and events wait until lookups have them', async () => {
  const weather = await rows([0, 50, 100, 149, 150, 400])
  const sent: number[] = []
  const loads: number[][] = []
  const feed = createTableFeed({
    tables: [
      {
        rows: weather,
        send(row) {
          sent.push(row['at'] as number)
          return null
        },
      },
    ],
    leadMs: 100,
    startTime: 0,
    loaded: async () => void loads.push([...sent]),
  })
  expect(feed.coveredTo(0)).toBe(false)
  await feed.prepare(0)
  expect(loads).toEqual([[0, 50]])
  expect(feed.coveredTo(49)).toBe(true)

  expect(feed.coveredTo(50)).toBe(false)
  await feed.prepare(50)
  expect(feed.coveredTo(99)).toBe(true)
  expect(feed.coveredTo(100)).toBe(false)
  await feed.prepare(100)
  expect(loads[1]).toEqual([0, 50, 100, 149])

  await feed.prepare(390)
  expect(loads.at(-1)).toEqual([0, 50, 100, 149, 150, 400])
  expect(feed.coveredTo(390)).toBe(true)
})

test('rows that lookups do not get stop the event that needs them', async () => {
  const feed = createTableFeed({
    tables: [{ rows: await rows([0]), send: () => null }],
    leadMs: 100,
    startTime: 0,
    loaded: async () => {
      throw new Error('not loaded')
    },
  })
  await expect(feed.prepare(0)).rejects.toThrow('not loaded')
})

async function replayed(events: readonly DataRecord[], labels: readonly DataRecord[], limit = 100) {
  const feed = createLabelFeed(await timed(labels), 'id')
  const log: string[] = []
  const send = (kind: string) => (record: DataRecord) => {
    log.push(`${kind} ${record['id']}`)
    return null
  }
  await replayEvents({
    events: await timed(events),
    idField: 'id',
    limit,
    pace: createPace(null, 0),
    clock: manualClock(),
    toEvents: {
      send: send('event'),
      flush: async () => void log.push('events flushed'),
    },
    tables: createTableFeed({ tables: [], leadMs: 100, startTime: 0, loaded: async () => {} }),
    labels: {
      feed,
      toLabels: { send: send('label'), flush: async () => {} },
    },
    onEvent: () => {},
    signal: new AbortController().signal,
  })
  return { log, labelled: feed.labelled() }
}

test('labels follow when they happen on the clock of the events, the rest at the end', async () => {
  const events = [1, 2, 3, 4].map((at) => ({ id: `e${at}`, at: at * 10 }))
  const labels = [
    { id: 'e1', at: 20 },
    { id: 'e3', at: 39 },
    { id: 'e4', at: 99 },
  ]
  expect(await replayed(events, labels)).toEqual({
    log: ['event e1', 'event e2', 'label e1', 'event e3', 'event e4', 'label e3', 'events flushed', 'label e4'],
    labelled: 3,
  })
})

test('only labels of replayed events are sent; one known before its event goes with it; corrections too', async () => {
  const events = [1, 2, 3].map((at) => ({ id: `e${at}`, at: at * 10 }))
  const labels = [
    { id: 'e0', at: 1 },
    { id: 'e2', at: 5 },
    { id: 'e1', at: 25 },
    { id: 'e1', at: 26 },
    { id: 'e3', at: 90 },
  ]
  expect(await replayed(events, labels, 2)).toEqual({
    log: ['event e1', 'event e2', 'label e2', 'events flushed', 'label e1', 'label e1'],
    labelled: 2,
  })
})
