import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { type MillraceError, retryable } from '../../infra/runtime/errors.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createFetcher } from '../../infra/runtime/kafka/consumer/fetcher.ts'
import { type OwnedLane, ownedLane } from '../../infra/runtime/kafka/consumer/owned-lane.ts'
import type { BrokerError } from '../../infra/runtime/kafka/protocol/error-codes.ts'
import type { KafkaRequest } from '../../infra/runtime/kafka/protocol/request.ts'
import { wireReader } from '../../infra/runtime/kafka/protocol/wire.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { appended, columnsOf } from '../support/record-columns.ts'

const DEADLINE = { deadlineMs: 30_000 }
const VALUE_BYTES = 1_000
/** Of two fetches, with what they cost beside their records. */
const MAX_LANE_BYTES = 10_000

interface Ask {
  readonly node: number
  readonly channel: string
  /** Partition → offset, in the order of the request. */
  readonly offsets: readonly (readonly [number, number])[]
}

interface Part {
  readonly error?: BrokerError
  readonly records?: Buffer
  readonly highWatermark?: number
}

function batch(offset: number, rows = 1): Buffer {
  const records = Array.from({ length: rows }, () => ({
    timestamp: 0,
    key: null,
    value: Buffer.alloc(VALUE_BYTES),
    headers: [],
  }))
  const producer = { id: -1n, epoch: -1, sequence: -1 }
  return appended(encodeBatch(columnsOf(records), { producer, transactional: false, compression: 'none' }), offset)
}

function askOf(node: number, channel: string, { body }: KafkaRequest<unknown>): Ask {
  const reader = wireReader(body, 'Fetch')
  for (const read of [reader.int32, reader.int32, reader.int32, reader.int32, reader.int8, reader.int32, reader.int32])
    read()
  const topics = reader.array(() => {
    reader.string()
    return reader.array(() => {
      const partition = reader.int32()
      reader.int32()
      const offset = reader.int64()
      reader.int64()
      reader.int32()
      return [partition, offset] as const
    })
  })
  return { node, channel, offsets: topics.flat() }
}

/** Brokers whose answers the test gives; a poll that it does not answer waits. */
function brokers(leaders: Map<number, number>) {
  const asked: Ask[] = []
  const waiting: {
    readonly ask: Ask
    answer(parts: Readonly<Record<number, Part>>): void
    fail(error: Error): void
  }[] = []
  const connections = {
    leaderOf: (_: string, partition: number) => leaders.get(partition) ?? null,
    send(node: number, channel: string, request: KafkaRequest<unknown>) {
      const ask = askOf(node, channel, request)
      asked.push(ask)
      const { promise, resolve, reject } = Promise.withResolvers<unknown>()
      waiting.push({
        ask,
        fail: reject,
        answer(parts) {
          const partitions = ask.offsets.map(([partition]) => ({
            partition,
            topic: 't',
            error: parts[partition]?.error ?? null,
            highWatermark: parts[partition]?.highWatermark ?? 1_000,
            lastStableOffset: 1_000,
            logStartOffset: 0,
            aborted: [],
            records: parts[partition]?.records ?? Buffer.alloc(0),
          }))
          resolve({ error: null, throttleMs: 0, partitions })
        },
      })
      return promise
    },
  } as unknown as KafkaConnections
  /** The next request that waits for its answer. */
  const next = async () =>
    await eventually(() => waiting.shift() ?? Promise.reject(new Error('nothing is asked')), DEADLINE)
  return { connections, asked, next, waiting: () => waiting.length }
}

function fetcherOf(leaders: Map<number, number>, partitions: readonly number[]) {
  const lanes = partitions.map((partition): OwnedLane => {
    const lane = ownedLane('t', partition, 'id', 0)
    lane.records.begin(0)
    lane.state = 'flowing'
    return lane
  })
  const paused = new Set<number>()
  const cluster = brokers(leaders)
  const failed = Promise.withResolvers<MillraceError>()
  let refreshed = 0
  const outOfRange: number[] = []
  const fetcher = createFetcher({
    connections: cluster.connections,
    clock: systemClock,
    logger: silentLogger,
    topic: 't',
    maxLaneBytes: () => MAX_LANE_BYTES,
    lanes: () => lanes,
    isPaused: (partition) => paused.has(partition),
    async refresh() {
      refreshed++
    },
    onRecords: () => {},
    onOutOfRange: (lane) => outOfRange.push(lane.partition),
    onFailed: (error) => failed.resolve(error as MillraceError),
  })
  onTestFinished(() => fetcher.stop())
  fetcher.route()
  return { ...cluster, fetcher, lanes, paused, failed: failed.promise, refreshed: () => refreshed, outOfRange }
}

test('the next fetch is on its way while records wait, until a partition is full', async () => {
  const { next, lanes, fetcher, waiting } = fetcherOf(new Map([[0, 1]]), [0])
  const [lane] = lanes
  for (const offset of [0, 1]) {
    const request = await next()
    expect(request.ask.offsets).toEqual([[0, offset]])
    request.answer({ 0: { records: batch(offset) } })
  }
  await eventually(() => expect(lane?.full).toBe(true), DEADLINE)
  fetcher.route()
  expect([waiting(), lane?.records.queuedRows]).toEqual([0, 2])
  if (lane !== undefined) lane.full = false
  fetcher.route()
  expect((await next()).ask.offsets).toEqual([[0, 2]])
})

test('a partition that holds as much as it may is fetched on to the offset that it has to reach', async () => {
  const { next, lanes, fetcher, waiting } = fetcherOf(new Map([[0, 1]]), [0])
  const [lane] = lanes
  if (lane !== undefined) lane.reach = 5
  for (let offset = 0; offset < 5; offset++) {
    const request = await next()
    expect(request.ask.offsets).toEqual([[0, offset]])
    request.answer({ 0: { records: batch(offset) } })
  }
  await eventually(() => expect(lane?.full).toBe(true), DEADLINE)
  fetcher.route()
  expect([waiting(), lane?.records.queuedRows]).toEqual([0, 5])
})

test('what becomes fetchable during a long poll is asked for beside it', async () => {
  const { next, lanes, paused, fetcher } = fetcherOf(
    new Map([
      [0, 1],
      [1, 1],
    ]),
    [0, 1],
  )
  paused.add(1)
  const first = await next()
  first.answer({})
  const poll = await next()
  expect([poll.ask.channel, poll.ask.offsets]).toEqual(['fetch t', [[0, 0]]])
  paused.delete(1)
  fetcher.route()
  const beside = await next()
  expect([beside.ask.channel, beside.ask.offsets]).toEqual(['control', [[1, 0]]])
  beside.answer({ 1: { records: batch(0) } })
  const more = await next()
  expect([more.ask.channel, more.ask.offsets, lanes[1]?.records.queuedRows]).toEqual(['control', [[1, 1]], 1])
})

test('partitions take turns in being the first of a request; each leader is asked for its own', async () => {
  const { next } = fetcherOf(
    new Map([
      [0, 1],
      [1, 1],
      [2, 2],
    ]),
    [0, 1, 2],
  )
  const firsts: Record<number, number[]> = { 1: [], 2: [] }
  for (let round = 0; round < 6; round++) {
    const request = await next()
    firsts[request.ask.node]?.push(request.ask.offsets[0]?.[0] ?? -1)
    request.answer({})
  }
  expect(firsts[2]).toContain(2)
  expect(new Set(firsts[1])).toEqual(new Set([0, 1]))
})

test.each([
  'NOT_LEADER_OR_FOLLOWER',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'FENCED_LEADER_EPOCH',
  'KAFKA_STORAGE_ERROR',
] as const)('after %s the leader is looked for, and asked; the position stays', async (error) => {
  const leaders = new Map([[0, 1]])
  const { next, refreshed } = fetcherOf(leaders, [0])
  const request = await next()
  leaders.set(0, 2)
  request.answer({ 0: { error } })
  const again = await next()
  expect([again.ask.node, again.ask.offsets, refreshed()]).toEqual([2, [[0, 0]], 1])
})

test('a broker that is gone, and a partition without a leader, are waited for', async () => {
  const leaders = new Map([[0, 1]])
  const { next } = fetcherOf(leaders, [0, 1])
  const request = await next()
  request.fail(retryable('kafka_unavailable', 'gone'))
  leaders.set(1, 3)
  await eventually(async () => {
    const { ask, answer } = await next()
    answer({})
    expect(ask.node).toBe(3)
  }, DEADLINE)
})

test('what the log does not have is handed to whoever decides about it, and not asked for again', async () => {
  const { next, outOfRange, waiting, fetcher } = fetcherOf(
    new Map([
      [0, 1],
      [1, 1],
    ]),
    [0, 1],
  )
  const request = await next()
  request.answer({ 0: { error: 'OFFSET_OUT_OF_RANGE' } })
  expect((await next()).ask.offsets).toEqual([[1, 0]])
  fetcher.route()
  expect([outOfRange, waiting()]).toEqual([[0], 0])
})

test('a damaged batch ends the source, naming topic, partition and offset', async () => {
  const { next, failed, lanes } = fetcherOf(new Map([[3, 1]]), [3])
  const records = Buffer.concat([batch(0), batch(1)])
  records[records.length - 5] = 0xff
  const request = await next()
  request.answer({ 3: { records } })
  const error = await failed
  expect([error.fate, error.code]).toEqual(['crash', 'corrupt_records'])
  expect(error.message).toMatch(/^t\/3: record batch at offset 1: its checksum/)
  expect([lanes[0]?.records.fetchAt, lanes[0]?.records.queuedRows]).toEqual([0, 0])
})

test('records above the mark of their fetch are asked for again, but not for ever', async () => {
  const { next, failed, lanes } = fetcherOf(new Map([[0, 1]]), [0])
  for (const highWatermark of [0, 1]) {
    const request = await next()
    request.answer({ 0: { records: batch(0), highWatermark } })
  }
  await eventually(() => expect(lanes[0]?.records.queuedRows).toBe(1), DEADLINE)
  const answering = (async () => {
    for (;;) (await next()).answer({ 0: { records: batch(50), highWatermark: 50 } })
  })()
  const error = await Promise.race([failed, answering])
  expect(error.message).toContain("t/0: the batch at offset 1 reaches above the log's end 50")
})

test('a batch that is cut off is asked for with more room', async () => {
  const { next, lanes } = fetcherOf(new Map([[0, 1]]), [0])
  const request = await next()
  request.answer({ 0: { records: batch(0).subarray(0, 100) } })
  const again = await next()
  again.answer({ 0: { records: batch(0) } })
  await eventually(() => expect([lanes[0]?.records.queuedRows, lanes[0]?.fetchBytes]).toEqual([1, 1_048_576]), DEADLINE)
})

test('what comes for a position that was left is forgotten', async () => {
  const { next, lanes } = fetcherOf(new Map([[0, 1]]), [0])
  const request = await next()
  lanes[0]?.records.begin(500)
  request.answer({ 0: { records: batch(0) } })
  expect((await next()).ask.offsets).toEqual([[0, 500]])
})
