import { expect, onTestFinished, test } from 'vitest'
import type { FeedFilter, FeedPlace } from '../../ingest/stream/prediction-feed.ts'
import { eventually } from '../support/eventually.ts'
import { idOf, type MemoryFeed, memoryFeed, place, take } from '../support/prediction-feed.ts'

// What waits for all subscribers together, and positions that are ahead of what this process knows.

const ALL: FeedFilter = { tenant: 'main', keys: null, requestIds: null }
const DEADLINE = { deadlineMs: 30_000 }
const forever = new AbortController().signal

async function feedOf(...options: Parameters<typeof memoryFeed>): Promise<MemoryFeed> {
  const made = await memoryFeed(...options)
  onTestFinished(() => made.stop())
  return made
}

test('all who read what was before together wait for no more than all may; who is ended for it resumes without a gap', async () => {
  const maxTotalBytes = 20_000
  const { feed, predict, counts } = await feedOf(1, { limits: { maxTotalBytes, maxQueuedBytes: 16_000 } })
  const TOTAL = 100
  for (let at = 0; at < TOTAL; at++) predict(0)
  // nobody takes anything, and nothing new comes
  const waiting = await Promise.all(Array.from({ length: 10 }, () => feed.subscribe(ALL, place([[0, 0]]), forever)))
  await eventually(() => expect(counts.subscribers).toBeLessThan(10), DEADLINE)
  await eventually(() => expect(waiting.some((one) => one.position().get(0) === 0)).toBe(true), DEADLINE)
  expect(counts.queuedBytes).toBeLessThan(maxTotalBytes + 3 * 1_000)

  const ended: FeedPlace[] = []
  for (const subscription of waiting) {
    const got: string[] = []
    try {
      for await (const { prediction } of subscription) {
        got.push(prediction.request_id)
        if (got.length === TOTAL) break
      }
    } catch (error) {
      expect(error).toMatchObject({ code: 'subscriber_too_slow', fate: 'reject' })
      expect(subscription.position().get(0)).toBe(got.length)
      ended.push({ generation: subscription.generation, position: subscription.position() })
    }
    expect(got).toEqual(Array.from(got, (_, at) => idOf(0, at)))
  }
  expect(ended.length).toBeGreaterThan(0)
  for (const from of ended) {
    const left = TOTAL - (from.position.get(0) ?? 0)
    const got = await take(await feed.subscribe(ALL, from, forever), left)
    expect(got.at(-1)?.prediction.request_id).toBe(idOf(0, TOTAL - 1))
  }
})

test('what waits still for one who was ended counts; what is taken and left counts no more', async () => {
  const { feed, predict, counts } = await feedOf(1, { limits: { maxTotalBytes: 8_000, maxQueuedBytes: 5_000 } })
  const ended = await feed.subscribe(ALL, null, forever)
  for (let at = 0; at < 30; at++) predict(0)
  await eventually(() => expect(counts.subscribers).toBe(0), DEADLINE)
  // two times 5,000 are more than all may have
  const second = await feed.subscribe(ALL, null, forever)
  for (let at = 0; at < 30; at++) predict(0)
  await eventually(() => expect(counts.subscribers).toBe(0), DEADLINE)
  await expect(take(second, 1)).rejects.toMatchObject({ code: 'subscriber_too_slow' })
  expect(await take(ended, 1)).toHaveLength(1)
  const third = await feed.subscribe(ALL, null, forever)
  for (let at = 0; at < 3; at++) predict(0)
  expect(await take(third, 3)).toHaveLength(3)
})

test('a position that knows a partition before this process does is good; one that nobody knows is to be tried again', async () => {
  const { feed, predict, topic } = await feedOf(1, { limits: { refreshMs: 3_600_000 } })
  const first = await feed.subscribe(ALL, null, forever)
  predict(1)
  predict(1)
  const from = place([
    [0, 0],
    [1, 1],
  ])
  await expect(feed.subscribe(ALL, from, forever)).rejects.toMatchObject({ code: 'partition_unknown', fate: 'retry' })
  topic.partitions = 2
  const resumed = await feed.subscribe(ALL, from, forever)
  expect((await take(resumed, 1)).map(({ prediction }) => prediction.request_id)).toEqual([idOf(1, 1)])
  // those that are there get it from its beginning
  expect((await take(first, 2)).map(({ prediction }) => prediction.request_id)).toEqual([idOf(1, 0), idOf(1, 1)])
})
