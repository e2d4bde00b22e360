import { expect, test } from 'vitest'
import { openEventStream } from '../support/event-stream-client.ts'
import { eventually } from '../support/eventually.ts'
import { streaming } from '../support/prediction-stream.ts'
import { predictionOf } from '../support/predictions.ts'

const DEADLINE = { deadlineMs: 60_000 }

/** Offsets of the events whose predictions came, by partition, in the order in which they came. */
function offsetsByPartition(ids: readonly string[]): ReadonlyMap<number, readonly number[]> {
  const offsets = new Map<number, number[]>()
  for (const id of ids) {
    const [, , partition = -1, offset = -1] = id.split('.').map(Number)
    offsets.set(partition, [...(offsets.get(partition) ?? []), offset])
  }
  return offsets
}

const idsOf = (events: readonly { readonly data: Record<string, unknown> }[]): string[] =>
  events.map(({ data }) => String(data['request_id']))

test('two tenants see their own; who is cut again and again while predictions are made gets each once and in order', async () => {
  const { open, predict, url } = await streaming(3, { settings: { heartbeatMs: 50 } })
  const theirs = await open('theirs')
  const first = await open('mine')
  expect(first.status).toBe(200)
  expect(first.headers).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
  })

  const ROUNDS = 60
  const expected = new Map<number, number[]>()
  const writing = (async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await predict('mine', 5)
      await predict('theirs', 2)
      for (let partition = 0; partition < 3; partition++) {
        const own = Array.from({ length: 5 }, (_, at) => round * 7 + at)
        expected.set(partition, [...(expected.get(partition) ?? []), ...own])
      }
    }
  })()
  const got: string[] = []
  let client = first
  for (let reconnects = 0; got.length < ROUNDS * 15; reconnects++) {
    const count = Math.min(ROUNDS * 15 - got.length, 7 + reconnects * 5)
    const events = await client.take(count)
    expect(events.every(({ event }) => event === 'prediction')).toBe(true)
    got.push(...idsOf(events))
    const { lastId } = client
    client.close()
    // as EventSource does it, and by the query
    client = reconnects % 2 === 0 ? await open('mine', lastId) : await open('mine', null, `?last_event_id=${lastId}`)
    expect(client.status, url).toBe(200)
  }
  await writing
  expect(offsetsByPartition(got)).toEqual(expected)

  const others = idsOf(await theirs.take(ROUNDS * 6))
  expect(new Set(others.map((id) => Number(id.split('.')[3]) % 7))).toEqual(new Set([5, 6]))
  // nothing comes any more, and the position goes on with what was made for others
  await predict('mine', 1)
  const before = theirs.heartbeats
  const last = theirs.next()
  await eventually(() => expect(theirs.heartbeats).toBeGreaterThan(before + 2), DEADLINE)
  theirs.close()
  expect(await last).toBe(null)
  const again = await open('theirs', theirs.lastId)
  await predict('theirs', 1)
  expect(await again.take(3)).toHaveLength(3)
})

test('by entity key and by request id', async () => {
  const { open, predict, name } = await streaming(2)
  const byKey = await open('mine', null, '?key=key-1&key=key-2')
  const day = new Date(predictionOf().ingested_at).toISOString().slice(0, 10).replaceAll('-', '')
  const byId = await open('mine', null, `?request_id=${name}.${day}.1.4`)
  await predict('mine', 6)
  const offsets = offsetsByPartition(idsOf(await byKey.take(8)))
  expect(offsets.get(0)).toEqual([1, 2, 4, 5])
  expect(offsets.get(1)).toEqual([1, 2, 4, 5])
  expect(idsOf(await byId.take(1))).toEqual([`${name}.${day}.1.4`])
  expect((await open('mine', null, '?request_id=other.20260101.1.4')).status).toBe(400)
})

test('who does not read is ended with where to resume; others get everything meanwhile; what waits is bounded', async () => {
  const maxQueuedBytes = 200_000
  const { open, predict, counts } = await streaming(1, { limits: { maxQueuedBytes }, settings: { stallMs: 600_000 } })
  const slow = await open('mine')
  const quick = await open('mine')
  // more than the kernel takes for a socket
  const outputs = Array.from({ length: 500 }, () => Math.random())
  const TOTAL = 4_000
  const read: string[] = []
  for (let at = 0; at < TOTAL; at += 50) {
    await predict('mine', 50, { outputs })
    // the quick one keeps up
    read.push(...idsOf(await quick.take(50)))
  }
  expect(counts.tail).toBe(TOTAL)
  expect(offsetsByPartition(read).get(0)).toEqual([...Array(TOTAL).keys()])
  await eventually(() => expect(counts.subscribers).toBe(1), DEADLINE)
  expect(counts.queuedBytes).toBeLessThanOrEqual(2 * maxQueuedBytes)

  const got: string[] = []
  for (;;) {
    const event = await slow.next()
    if (event === null) throw new Error('the stream ended without a word')
    if (event.event === 'cut') {
      expect(event.data).toMatchObject({ reason: 'subscriber_too_slow', resume: event.id })
      break
    }
    got.push(...idsOf([event]))
  }
  expect(await slow.next()).toBe(null)
  expect(got.length).toBeLessThan(TOTAL)
  const resumed = await open('mine', slow.lastId)
  got.push(...idsOf(await resumed.take(TOTAL - got.length)))
  expect(offsetsByPartition(got).get(0)).toEqual([...Array(TOTAL).keys()])
})

test('who never reads is disconnected', async () => {
  const { open, predict, counts } = await streaming(1, { settings: { stallMs: 200 } })
  await open('mine')
  const outputs = Array.from({ length: 2_000 }, () => Math.random())
  await eventually(async () => {
    await predict('mine', 50, { outputs })
    expect(counts.subscribers).toBe(0)
  }, DEADLINE)
})

test('fifty subscribers cost one reading of the log', async () => {
  const { open, predict, counts } = await streaming(2)
  const clients = await Promise.all(Array.from({ length: 50 }, (_, at) => open(at % 2 === 0 ? 'mine' : 'theirs')))
  for (let round = 0; round < 10; round++) {
    await predict('mine', 10)
    await predict('theirs', 10)
  }
  for (const client of clients) expect(await client.take(200)).toHaveLength(200)
  expect(counts).toMatchObject({ tail: 400, caughtUp: 0, subscribers: 50 })
})

test('partitions that are added come too, from their beginning', async () => {
  const { open, predict, grow } = await streaming(1)
  const client = await open('mine')
  await predict('mine', 2)
  await client.take(2)
  const { lastId } = client
  await grow(3)
  await predict('mine', 2)
  const expected = new Map([
    [0, [2, 3]],
    [1, [0, 1]],
    [2, [0, 1]],
  ])
  const sorted = (ids: readonly string[]) => new Map([...offsetsByPartition(ids)].sort(([one], [other]) => one - other))
  expect(sorted(idsOf(await client.take(6)))).toEqual(expected)
  expect(sorted(idsOf(await (await open('mine', lastId)).take(6)))).toEqual(expected)
})

test('shutting down, streams end at once with where to resume, and nobody else is let in', async () => {
  const { open, predict, draining, app } = await streaming(1)
  const client = await open('mine')
  await predict('mine', 1)
  const [only] = await client.take(1)
  draining.abort()
  expect(await client.next()).toMatchObject({
    event: 'cut',
    id: only?.id,
    data: { reason: 'draining', resume: only?.id },
  })
  expect(await client.next()).toBe(null)
  const late = await open('mine')
  expect(late.status).toBe(503)
  expect(late.headers['retry-after']).toMatch(/^\d+$/)
  await app.close()
})

test('closing the server ends streams too', async () => {
  const { open, app } = await streaming(1)
  const client = await open('mine')
  await app.close()
  expect(await client.next()).toMatchObject({ event: 'cut', data: { reason: 'draining' } })
})

test('positions that are none, lost, or of a topic that was made again; pipelines of others', async () => {
  const { open, predict, url, admin, topic, createTopic } = await streaming(1)
  const client = await open('mine')
  await predict('mine', 1)
  await client.take(1)
  const { lastId } = client
  const problem = async (lastEventId: string) => {
    const refused = await open('mine', lastEventId)
    return { status: refused.status, code: (JSON.parse(await refused.body()) as { code: string }).code }
  }
  expect(await problem('17')).toEqual({ status: 400, code: 'invalid_event_id' })
  expect(await problem(`${lastId}0`)).toEqual({ status: 410, code: 'position_lost' })
  expect((await openEventStream(url.replace('/pipelines/', '/pipelines/not-'))).status).toBe(404)

  await admin.deleteTopic(topic)
  await eventually(async () => expect((await admin.partitionCounts([topic])).has(topic)).toBe(false), DEADLINE)
  await eventually(createTopic, DEADLINE)
  expect(await client.next()).toMatchObject({ event: 'cut', data: { reason: 'topic_recreated' } })
  await eventually(
    async () => expect(await problem(lastId)).toEqual({ status: 410, code: 'topic_recreated' }),
    DEADLINE,
  )
})
