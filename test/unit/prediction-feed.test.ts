import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { formatPositionId, parsePositionId } from '../../ingest/stream/position-id.ts'
import type { FedPrediction, FeedFilter, FeedPlace } from '../../ingest/stream/prediction-feed.ts'
import { eventually } from '../support/eventually.ts'
import { idOf, type MemoryFeed, memoryFeed, PIPELINE, place, take } from '../support/prediction-feed.ts'

const ALL: FeedFilter = { tenant: 'main', keys: null, requestIds: null }
const DEADLINE = { deadlineMs: 30_000 }

async function feedOf(...options: Parameters<typeof memoryFeed>): Promise<MemoryFeed> {
  const made = await memoryFeed(...options)
  onTestFinished(() => made.stop())
  return made
}

const idsOf = (fed: readonly FedPrediction[]): string[] => fed.map(({ prediction }) => prediction.request_id)
const forever = new AbortController().signal

test('without a position it begins now; a view is what is told outside', async () => {
  const { feed, predict } = await feedOf(2)
  predict(0)
  const subscription = await feed.subscribe(ALL, null, forever)
  expect(subscription.position()).toEqual(
    new Map([
      [0, 1],
      [1, 0],
    ]),
  )
  predict(0, { score: Number.NaN, outputs: [Number.POSITIVE_INFINITY, 0.5], label: 'late', role: 'canary' })
  const [fed] = await take(subscription, 1)
  expect(fed).toEqual({
    position: new Map([
      [0, 2],
      [1, 0],
    ]),
    prediction: {
      request_id: idOf(0, 1),
      event_id: 'event-1',
      event_time: '2013-03-15T09:30:00.000Z',
      model: 'delay',
      model_version: '1',
      model_digest: 'd1',
      role: 'canary',
      score: null,
      outputs: [null, 0.5],
      label: 'late',
      degraded: false,
      answer: 'scored',
      provider: 'cpu',
      scored_at: '2026-01-05T12:00:00.020Z',
    },
  })
})

test('only the tenant, the keys and the events that were asked for; what is left out moves the position', async () => {
  const { feed, predict, counts, log } = await feedOf(2)
  const filters: FeedFilter[] = [
    ALL,
    { tenant: 'other', keys: null, requestIds: null },
    { tenant: 'main', keys: new Set(['a']), requestIds: null },
    { tenant: 'main', keys: null, requestIds: new Set([idOf(1, 1), `${PIPELINE}.20260104.0.0`, 'no id']) },
    { tenant: 'mai', keys: null, requestIds: null },
  ]
  const subscriptions = await Promise.all(filters.map((filter) => feed.subscribe(filter, null, forever)))
  predict(0, {}, 'a')
  predict(0, { tenant: 'other' }, 'a')
  predict(0, { role: 'shadow' }, 'a')
  log.append(0, { key: null, value: Buffer.from('no prediction') })
  log.append(0, { key: null, value: null })
  predict(1, {}, 'b')
  predict(1, {}, 'b')
  const end = new Map([
    [0, 5],
    [1, 2],
  ])
  await eventually(() => expect(subscriptions[4]?.position()).toEqual(end), DEADLINE)
  const wanted = [[idOf(0, 0), idOf(1, 0), idOf(1, 1)], [idOf(0, 1)], [idOf(0, 0)], [idOf(1, 1)], []]
  for (const [at, subscription] of subscriptions.entries()) {
    expect(idsOf(await take(subscription, wanted[at]?.length ?? 0)).sort()).toEqual(wanted[at])
    expect(subscription.position()).toEqual(end)
  }
  expect(counts.unreadable).toBe(3)
})

test('however a subscriber resumes while the log grows: each of its predictions once, in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ partition: fc.nat(2), mine: fc.boolean() }), { minLength: 5, maxLength: 80 }),
      fc.array(fc.nat(12), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 7 }),
      async (written, takes, setSize) => {
        const made = await memoryFeed(3, {
          setSize: () => setSize,
          limits: { maxQueuedItems: 1_000, maxCatchingUp: 1 },
        })
        try {
          // one who is always there keeps the tail going
          const other = await made.feed.subscribe({ ...ALL, tenant: 'other' }, null, forever)
          expect(other.generation).toMatch(/^0f8f/)
          const expected = new Map<number, number[]>()
          const writing = (async () => {
            for (const { partition, mine } of written) {
              const offset = made.predict(partition, { tenant: mine ? 'main' : 'theirs' })
              if (mine) expected.set(partition, [...(expected.get(partition) ?? []), offset])
              await new Promise((resolve) => setImmediate(resolve))
            }
          })()
          const got = new Map<number, number[]>()
          let from = place([])
          let left = 0
          const follow = async (count: number, signal: AbortSignal) => {
            const subscription = await made.feed.subscribe(ALL, from, signal)
            for await (const { prediction, position } of subscription) {
              const [, , partition, offset] = prediction.request_id.split('.').map(Number)
              got.set(partition ?? -1, [...(got.get(partition ?? -1) ?? []), offset ?? -1])
              const id = parsePositionId(formatPositionId(subscription.generation, position))
              if (id === null) throw new Error('a position that is none')
              from = id
              if (--count === 0) break
            }
          }
          for (const count of takes) {
            const ending = new AbortController()
            setImmediate(() => setImmediate(() => ending.abort()))
            await follow(count + 1, ending.signal)
          }
          await writing
          const all = written.filter(({ mine }) => mine).length
          left = all - [...got.values()].reduce((sum, { length }) => sum + length, 0)
          if (left > 0) await follow(left, AbortSignal.timeout(30_000))
          expect(got).toEqual(expected)
        } finally {
          await made.stop()
        }
      },
    ),
    { numRuns: 60 },
  )
})

test('one who resumes reads what it missed by itself; all others are read for once', async () => {
  const { feed, predict, log, counts } = await feedOf(1, { setSize: () => 10 })
  const subscriptions = await Promise.all(Array.from({ length: 50 }, () => feed.subscribe(ALL, null, forever)))
  for (let at = 0; at < 100; at++) predict(0)
  for (const subscription of subscriptions) expect(await take(subscription, 100)).toHaveLength(100)
  expect(log.handedOut).toBe(100)
  expect(counts.delivered).toBe(5_000)
  const resumed = await feed.subscribe(ALL, place([[0, 60]]), forever)
  expect(idsOf(await take(resumed, 40))[0]).toBe(idOf(0, 60))
  expect(log.handedOut).toBe(140)
})

test('a slow subscriber is ended with what it had, bounded, and others are not held up; it loses nothing when it resumes', async () => {
  const { feed, predict, counts } = await feedOf(1, { limits: { maxQueuedItems: 20, maxQueuedBytes: 20_000 } })
  const slow = await feed.subscribe(ALL, null, forever)
  const quick = await feed.subscribe(ALL, null, forever)
  const reading = take(quick, 300)
  for (let at = 0; at < 300; at++) {
    predict(0)
    if (at % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  expect(await reading).toHaveLength(300)
  const seen: string[] = []
  let last: FedPrediction | null = null
  const follow = async () => {
    for await (const fed of slow) {
      seen.push(fed.prediction.request_id)
      last = fed
    }
  }
  await expect(follow()).rejects.toMatchObject({ code: 'subscriber_too_slow', fate: 'reject' })
  expect(seen.length).toBeLessThanOrEqual(20)
  expect(counts.queuedBytes).toBeLessThanOrEqual(40_000)
  expect((last as FedPrediction | null)?.position).toEqual(slow.position())
  // far behind, and slower than the log is read: it is not ended for that
  const again = await feed.subscribe(ALL, { generation: slow.generation, position: slow.position() }, forever)
  for (const fed of await take(again, 300 - seen.length)) seen.push(fed.prediction.request_id)
  expect(seen).toEqual(Array.from({ length: 300 }, (_, at) => idOf(0, at)))
})

test('of all that wait together the largest goes when they are too many; no more subscribers than that', async () => {
  const { feed, predict, counts } = await feedOf(1, { limits: { maxTotalBytes: 8_000, maxSubscribers: 2 } })
  const [small, large] = [
    await feed.subscribe({ ...ALL, keys: new Set(['seldom']) }, null, forever),
    await feed.subscribe(ALL, null, forever),
  ]
  await expect(feed.subscribe(ALL, null, forever)).rejects.toMatchObject({
    code: 'too_many_subscribers',
    fate: 'retry',
  })
  predict(0, {}, 'seldom')
  for (let at = 0; at < 30; at++) predict(0, {}, 'often')
  await eventually(() => expect(counts.subscribers).toBe(1), DEADLINE)
  await expect(take(large, 31)).rejects.toMatchObject({ code: 'subscriber_too_slow' })
  expect(await take(small, 1)).toHaveLength(1)
})

test('positions that the log does not reach from, or of another topic, are refused', async () => {
  const { feed, predict, log } = await feedOf(2)
  for (let at = 0; at < 10; at++) predict(0)
  log.cut(0, 4)
  const refused = (from: FeedPlace) => expect(feed.subscribe(ALL, from, forever)).rejects
  await refused(place([[0, 3]])).toMatchObject({ code: 'position_lost', fate: 'reject' })
  await refused(place([[1, 0]])).toMatchObject({ code: 'position_lost' })
  await refused(
    place([
      [0, 11],
      [1, 0],
    ]),
  ).toMatchObject({ code: 'position_lost' })
  await refused(place([[0, 4]], '1f8fad5b-d9cb-469f-a165-70867728950e')).toMatchObject({ code: 'topic_recreated' })
  expect(await take(await feed.subscribe(ALL, place([[0, 4]]), forever), 6)).toHaveLength(6)
})

test('retention that overtakes a subscriber, and a topic that is made again, end it', async () => {
  const { feed, log, topic } = await feedOf(1)
  const subscription = await feed.subscribe(ALL, null, forever)
  log.cut(0, 5)
  await expect(take(subscription, 1)).rejects.toMatchObject({ code: 'position_lost' })
  const next = await feed.subscribe(ALL, null, forever)
  expect(next.position()).toEqual(new Map([[0, 5]]))
  topic.generation = '2f8fad5b-d9cb-469f-a165-70867728950e'
  await expect(take(next, 1)).rejects.toMatchObject({ code: 'topic_recreated' })
  expect((await feed.subscribe(ALL, null, forever)).generation).toBe(topic.generation)
})

test('partitions that are added are read from their beginning, by all who are there and by who resumes', async () => {
  const { feed, predict, topic } = await feedOf(1)
  const before = await feed.subscribe(ALL, null, forever)
  const from = { generation: before.generation, position: before.position() }
  predict(1)
  topic.partitions = 3
  predict(2)
  expect(idsOf(await take(before, 2)).sort()).toEqual([idOf(1, 0), idOf(2, 0)])
  expect(before.position()).toEqual(
    new Map([
      [0, 0],
      [1, 1],
      [2, 1],
    ]),
  )
  const resumed = await feed.subscribe(ALL, from, forever)
  expect(idsOf(await take(resumed, 2)).sort()).toEqual([idOf(1, 0), idOf(2, 0)])
})

test('nothing is read without subscribers: begun with the first, ended after the last', async () => {
  const { feed, predict, counts, stop } = await feedOf(1)
  predict(0)
  const ending = new AbortController()
  const subscription = await feed.subscribe(ALL, null, ending.signal)
  predict(0)
  await eventually(() => expect(counts.tailRecords).toBe(1), DEADLINE)
  ending.abort()
  expect(await take(subscription, 1)).toEqual([])
  expect(subscription.position()).toEqual(new Map([[0, 1]]))
  await eventually(async () => {
    const read = counts.tailRecords
    predict(0)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(counts.tailRecords).toBe(read)
  }, DEADLINE)
  const later = await feed.subscribe(ALL, null, forever)
  predict(0)
  expect(await take(later, 1)).toHaveLength(1)
  await stop()
  await expect(feed.subscribe(ALL, null, forever)).rejects.toMatchObject({ code: 'feed_stopped', fate: 'retry' })
})

test.each([
  '',
  '1',
  'mr_live_x',
  '2.0f8fad5bd9cb469fa16570867728950e.0',
  '1.0f8fad5bd9cb469fa16570867728950e.',
  '1.0f8fad5bd9cb469fa16570867728950e.-1',
  '1.0f8fad5bd9cb469fa16570867728950e.zzzzzzzzzzz',
  '1.0f8fad5bd9cb469fa16570867728950e.0\n',
])('%j is no position', (text) => {
  expect(parsePositionId(text)).toBe(null)
})
