import { killPoint } from '#kill-points'
import { backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { describeError, fatal, fateOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/logger.ts'
import { brokerRefusal } from '../connections/broker-refusals.ts'
import type { Channel, KafkaConnections } from '../connections/connections.ts'
import { type FetchedPartition, fetchRequest } from '../protocol/fetch.ts'
import { batchEnd } from '../record-batches/batch-header.ts'
import type { Slices } from '../record-batches/columns.ts'
import { decodeRecordSet, type RecordSet } from '../record-batches/decode-record-set.ts'
import { RecordsError } from '../record-batches/errors.ts'
import { FETCH_BYTES, type OwnedLane } from './owned-lane.ts'

export interface FetcherOptions {
  readonly connections: KafkaConnections
  readonly clock: Clock
  readonly logger: Logger
  readonly topic: string
  maxLaneBytes(): number
  lanes(): Iterable<OwnedLane>
  isPaused(partition: number): boolean
  /** Reads the metadata of the topic again. */
  refresh(): Promise<unknown>
  onRecords(): void
  /** The log does not have the lane's position; it is not fetched before `locating` is taken back. */
  onOutOfRange(lane: OwnedLane): void
  onFailed(error: unknown): void
}

/**
 * One long poll per leader, in flight whenever one of its partitions may be fetched. What becomes fetchable meanwhile is asked for at
 * once on the control connection, so that it need not wait for the end of the poll. A partition is in one request at a time.
 */
export interface Fetcher {
  /** To be called when a partition may have become fetchable. */
  route(): void
  stop(): void
}

interface LeaderLoop {
  readonly node: number
  polling: boolean
  asking: boolean
  /** Counts the requests: each begins with another partition. */
  turn: number
  wake: () => void
}

/** What a lane may hold is at least so many fetches. */
const FETCHES_HELD = 4
const POLL_WAIT_MS = 250
const POLL_BYTES = 16_777_216
const MAX_FETCH_BYTES = 2 ** 28
/** Commits and heartbeats stand behind it. */
const ASK_BYTES = 2_097_152
const MAX_DECOMPRESSED_BYTES = 2 ** 26
const MAX_ABOVE_END = 20
const BACKOFF = { baseMs: 50, maxMs: 2_000 }

export function createFetcher(options: FetcherOptions): Fetcher {
  const { connections, clock, logger, topic } = options
  const stopping = new AbortController()
  const loops = new Map<number, LeaderLoop>()
  let refreshing = false
  /** Failures in a row, for the back-off. */
  let failures = 0

  const isFetchable = (lane: OwnedLane): boolean =>
    lane.state === 'flowing' &&
    !(lane.fetching || lane.stale || lane.locating || lane.full || options.isPaused(lane.partition))

  /** One fetch may go above what a lane may hold, and the more its records are compressed: not by much. */
  const askedBytes = ({ fetchBytes }: OwnedLane): number =>
    fetchBytes > FETCH_BYTES ? fetchBytes : Math.min(fetchBytes, Math.ceil(options.maxLaneBytes() / FETCHES_HELD))

  /** In turns, because a broker fills its answer in the order of the request; first who needs a large answer. */
  function pick(loop: LeaderLoop): OwnedLane[] {
    const found = [...options.lanes()].filter(
      (lane) => isFetchable(lane) && connections.leaderOf(topic, lane.partition) === loop.node,
    )
    const first = found.length === 0 ? 0 : loop.turn++ % found.length
    return [...found.slice(first), ...found.slice(0, first)].sort((a, b) => b.fetchBytes - a.fetchBytes)
  }

  function route(): void {
    if (stopping.signal.aborted) return
    const nodes = new Set<number>()
    const leaderless: OwnedLane[] = []
    for (const lane of options.lanes()) {
      if (!isFetchable(lane)) continue
      const leader = connections.leaderOf(topic, lane.partition)
      if (leader === null) leaderless.push(lane)
      else nodes.add(leader)
    }
    if (leaderless.length > 0) stale(leaderless)
    for (const node of nodes) {
      const loop = loops.get(node)
      if (loop === undefined) void poll(node)
      else if (!loop.polling) loop.wake()
      else if (!loop.asking) void askAtOnce(loop)
    }
  }

  async function poll(node: number): Promise<void> {
    const loop: LeaderLoop = { node, polling: false, asking: false, turn: 0, wake: () => {} }
    loops.set(node, loop)
    while (!stopping.signal.aborted) {
      const lanes = pick(loop)
      if (lanes.length === 0) {
        const { promise, resolve } = Promise.withResolvers<void>()
        loop.wake = resolve
        await promise
        continue
      }
      loop.polling = true
      await fetch(node, lanes, `fetch ${topic}`, POLL_WAIT_MS, POLL_BYTES)
      loop.polling = false
    }
  }

  async function askAtOnce(loop: LeaderLoop): Promise<void> {
    loop.asking = true
    // leaves the current turn: what becomes fetchable together goes together
    await Promise.resolve()
    for (let brought = true; brought && loop.polling; ) {
      const lanes = pick(loop)
      brought = lanes.length > 0 && (await fetch(loop.node, lanes, 'control', 0, ASK_BYTES))
    }
    loop.asking = false
    if (!loop.polling) loop.wake()
  }

  /** True when it brought something. Never rejects. */
  async function fetch(
    node: number,
    lanes: readonly OwnedLane[],
    channel: Channel,
    maxWaitMs: number,
    maxBytes: number,
  ): Promise<boolean> {
    const asked = new Map(lanes.map((lane) => [lane.partition, { lane, offset: lane.records.fetchAt }]))
    const partitions = [...asked.values()].map(({ lane, offset }) => ({
      partition: lane.partition,
      offset,
      maxBytes: askedBytes(lane),
    }))
    const largest = Math.max(maxBytes, lanes[0]?.fetchBytes ?? 0)
    const limits = { isolation: 'read_committed', maxWaitMs, minBytes: 1, maxBytes: largest } as const
    for (const lane of lanes) lane.fetching = true
    try {
      const answer = await connections.send(node, channel, fetchRequest([{ topic, partitions }], limits))
      killPoint('after-fetch')
      for (const lane of lanes) lane.fetching = false
      if (stopping.signal.aborted) return false
      if (answer.error !== null) throw brokerRefusal(answer.error, `fetching ${topic} from broker ${node}`)
      let brought = false
      for (const part of answer.partitions) {
        const { lane, offset } = asked.get(part.partition) ?? { lane: null, offset: 0 }
        // given away, paused by a rewind, or moved meanwhile
        if (lane?.state !== 'flowing' || lane.records.fetchAt !== offset) continue
        brought = take(lane, part) || brought
      }
      if (answer.throttleMs > 0) await clock.sleep(answer.throttleMs, stopping.signal)
      return brought
    } catch (error) {
      for (const lane of lanes) lane.fetching = false
      if (stopping.signal.aborted) return false
      if (fateOf(error) !== 'retry') {
        options.onFailed(error)
        stop()
        return false
      }
      logger.warn({ ...describeError(error), topic, broker: node }, 'fetch: trying again')
      stale(lanes)
      return false
    }
  }

  function take(lane: OwnedLane, part: FetchedPartition): boolean {
    const { records } = lane
    const where = `${topic}/${lane.partition}`
    if (part.error === 'OFFSET_OUT_OF_RANGE') {
      lane.locating = true
      options.onOutOfRange(lane)
      return false
    }
    if (part.error === 'CORRUPT_MESSAGE')
      throw fatal('corrupt_records', `${where}: the log is broken at offset ${records.fetchAt}`)
    if (part.error !== null) {
      const refusal = brokerRefusal(part.error, where)
      if (refusal.fate !== 'retry') throw refusal
      logger.warn({ ...describeError(refusal), topic, partition: lane.partition }, 'fetch: trying again')
      stale([lane])
      return false
    }
    failures = 0
    lane.end = part.highWatermark
    lane.readableEnd = part.lastStableOffset
    if (part.records.length === 0) return false
    const before = records.fetchAt
    const set = decode(where, part, before)
    if (set.nextOffset === before) {
      if (batchEnd(part.records, 0) !== null) {
        // records that were appended while the broker read; not again and again
        if (++lane.aboveEnd <= MAX_ABOVE_END) return true
        throw fatal(
          'corrupt_records',
          `${where}: the batch at offset ${before} reaches above the log's end ${part.highWatermark}`,
        )
      }
      if (lane.fetchBytes >= MAX_FETCH_BYTES) {
        throw fatal(
          'records_too_large',
          `${where}: the batch at offset ${before} is larger than ${lane.fetchBytes} bytes`,
        )
      }
      lane.fetchBytes *= 2
      return true
    }
    lane.fetchBytes = FETCH_BYTES
    lane.aboveEnd = 0
    records.accept(set, clock.monotonic())
    lane.full = records.heldBytes >= options.maxLaneBytes() && records.fetchAt >= lane.reach
    options.onRecords()
    return true
  }

  /** Their leaders are looked for, after a while that grows from failure to failure. */
  function stale(lanes: readonly OwnedLane[]): void {
    for (const lane of lanes) lane.stale = true
    if (!refreshing) void refresh()
  }

  async function refresh(): Promise<void> {
    refreshing = true
    for (let known = false; !known && !stopping.signal.aborted; ) {
      await clock.sleep(backoffMs(BACKOFF, failures++), stopping.signal)
      try {
        if (!stopping.signal.aborted) await options.refresh()
        known = true
      } catch (error) {
        if (fateOf(error) !== 'retry') {
          options.onFailed(error)
          return stop()
        }
        logger.warn({ ...describeError(error), topic }, 'looking for leaders: trying again')
      }
    }
    refreshing = false
    for (const lane of options.lanes()) lane.stale = false
    route()
  }

  function stop(): void {
    stopping.abort()
    for (const { wake } of loops.values()) wake()
  }

  return { route, stop }
}

function decode(where: string, { records, aborted, highWatermark }: FetchedPartition, from: number): RecordSet {
  try {
    const limits = { from, highWatermark, aborted, maxDecompressedBytes: MAX_DECOMPRESSED_BYTES }
    const set = decodeRecordSet(records, limits)
    const isSmallPart = set.values.bytes === records && records.length * 2 < records.buffer.byteLength
    return isSmallPart ? inOwnMemory(set) : set
  } catch (error) {
    if (error instanceof RecordsError) throw fatal(error.code, `${where}: ${error.message}`, error)
    throw error
  }
}

/** So that a slow partition does not keep the whole answer, with the records of all others, in memory. */
function inOwnMemory(set: RecordSet): RecordSet {
  const bytes = Buffer.from(set.values.bytes)
  const moved = (slices: Slices): Slices => ({ ...slices, bytes })
  return { ...set, keys: moved(set.keys), values: moved(set.values), headers: moved(set.headers) }
}
