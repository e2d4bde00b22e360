import { type Backoff, backoffMs } from '../backoff.ts'
import type { Clock } from '../clock.ts'
import { fatal, retryable } from '../errors.ts'
import type { KafkaConnections } from './connections/connections.ts'
import { createPartitionLeader, type PartitionLeader } from './partition-leader.ts'
import { type FetchedPartition, fetchRequest, type Isolation } from './protocol/fetch.ts'
import { type ListedOffset, listOffsetsRequest, type OffsetQuery } from './protocol/list-offsets.ts'
import type { KafkaRequest } from './protocol/request.ts'
import { decodeRecordSet, type RecordSet } from './record-batches/decode-record-set.ts'

export interface LogRange {
  /** First offset that the log still has. */
  readonly start: number
  /** Offset that the next record will get (high watermark), or where read_committed ends when that was asked for. */
  readonly end: number
}

/** Reads partitions without a group: tails, audits, replays. Calls may overlap. */
export interface LogReader {
  /** Default isolation: read_uncommitted. Retries by itself while a leader is away, like everything here, until `signal` aborts. */
  range(topic: string, partition: number, isolation?: Isolation, signal?: AbortSignal): Promise<LogRange>
  /**
   * Decoded records and markers of [from, to), read_uncommitted by default, one set per fetch, in order; ends at `to` or at the log's end when that is lower.
   * Throws `position_lost` (crash) when the log does not reach back to `from`; retries by itself while a leader is away, until `signal` aborts.
   * The next fetch is on its way while a set is worked on.
   */
  read(
    topic: string,
    partition: number,
    from: number,
    to: number,
    options?: { readonly isolation?: Isolation; readonly signal?: AbortSignal },
  ): AsyncIterable<RecordSet>
  /** Waits until the log's end is above `offset`. Rejects once `signal` aborts. */
  waitForEnd(topic: string, partition: number, offset: number, signal: AbortSignal): Promise<LogRange>
}

export interface LogReaderOptions {
  readonly connections: KafkaConnections
  readonly clock: Clock
  /** Of one fetch; a larger batch comes whole. Default 1 MiB. */
  readonly fetchBytes?: number
}

const FETCH_BYTES = 1_048_576
/** A batch that is larger is not read. */
const MAX_FETCH_BYTES = 2 ** 28
const MAX_DECOMPRESSED_BYTES = 2 ** 26
const WAIT: Backoff = { baseMs: 2, maxMs: 200 }
/** How long the broker waits for more where the log ends: it stands before other requests of the channel. */
const WAIT_FOR_MORE_MS = 20
/** Without bytes so often in a row: there is nothing left between the position and the end, compaction took it. */
const EMPTY_ANSWERS = 3

/** A partition as one call sees it. */
interface Log {
  readonly topic: string
  readonly partition: number
  readonly isolation: Isolation
  readonly signal?: AbortSignal | undefined
}

interface Slice {
  readonly set: RecordSet | null
  /** Where to go on; the position itself when the answer tells that the log ends there. */
  readonly next: number
}

export function createLogReader({ connections, clock, fetchBytes = FETCH_BYTES }: LogReaderOptions): LogReader {
  const leaderOf = ({ topic, partition }: Log): PartitionLeader =>
    createPartitionLeader(connections, clock, topic, partition)

  async function range(log: Log): Promise<LogRange> {
    const leader = leaderOf(log)
    const ask = async (query: OffsetQuery): Promise<number> =>
      (await leader.ask(oneOffset(log, query), { signal: log.signal })).offset
    const [start, end] = await Promise.all([ask('earliest'), ask('latest')])
    return { start, end }
  }

  /** One fetch that brought something, or found the end. */
  async function slice(leader: PartitionLeader, log: Log, position: number): Promise<Slice> {
    let maxBytes = fetchBytes
    for (let empty = 0; ; ) {
      const request = oneFetch(log, position, maxBytes, empty === 0 ? 0 : WAIT_FOR_MORE_MS)
      const answer = await leader.ask(request, { final: 'OFFSET_OUT_OF_RANGE', signal: log.signal })
      if (answer.error !== null) {
        const { start } = await range(log)
        if (position >= start) return { set: null, next: position }
        throw fatal('position_lost', `${log.topic}/${log.partition} begins at ${start}, above ${position}`)
      }
      const { highWatermark, lastStableOffset, aborted, records } = answer
      const end = log.isolation === 'read_committed' ? lastStableOffset : highWatermark
      if (position >= end) return { set: null, next: position }
      if (records.length === 0) {
        if (++empty === EMPTY_ANSWERS) return { set: null, next: end }
        continue
      }
      const limits = { from: position, highWatermark, maxDecompressedBytes: MAX_DECOMPRESSED_BYTES }
      const set = decodeRecordSet(records, { ...limits, aborted })
      if (set.nextOffset > position) return { set, next: set.nextOffset }
      if (maxBytes >= MAX_FETCH_BYTES) {
        const what = `the batch at offset ${position} of ${log.topic}/${log.partition}`
        throw fatal('records_too_large', `${what} is larger than ${maxBytes} bytes`)
      }
      maxBytes *= 2
    }
  }

  async function* read(log: Log, from: number, to: number): AsyncGenerator<RecordSet> {
    const leader = leaderOf(log)
    const fetch = (position: number): Promise<Slice> => {
      const fetched = slice(leader, log, position)
      // nobody waits for it when the reading ends early
      fetched.catch(() => {})
      return fetched
    }
    let position = from
    let fetched = position < to ? fetch(position) : null
    while (fetched !== null) {
      const { set, next } = await fetched
      // the answer of a leader that was just elected may end before the log does
      if (next === position && position >= (await range(log)).end) return
      position = next
      fetched = position < to ? fetch(position) : null
      if (set !== null) yield next <= to ? set : upTo(set, to)
    }
  }

  async function waitForEnd(log: Log, offset: number): Promise<LogRange> {
    const leader = leaderOf(log)
    for (let attempt = 0; ; attempt++) {
      const known = await range(log)
      if (known.end > offset) return known
      // answered as soon as something is appended
      await leader.ask(oneFetch(log, known.end, 1, WAIT_FOR_MORE_MS), {
        final: 'OFFSET_OUT_OF_RANGE',
        signal: log.signal,
      })
      await clock.sleep(backoffMs(WAIT, attempt), log.signal)
      if (log.signal?.aborted) {
        const where = `${log.topic}/${log.partition}`
        throw retryable('kafka_unavailable', `${where} ends at ${known.end}, nothing came above ${offset}`)
      }
    }
  }

  return {
    range: (topic, partition, isolation = 'read_uncommitted', signal) => range({ topic, partition, isolation, signal }),
    read: (topic, partition, from, to, { isolation = 'read_uncommitted', signal } = {}) =>
      read({ topic, partition, isolation, signal }, from, to),
    waitForEnd: (topic, partition, offset, signal) =>
      waitForEnd({ topic, partition, isolation: 'read_uncommitted', signal }, offset),
  }
}

function oneOffset({ topic, partition, isolation }: Log, query: OffsetQuery): KafkaRequest<ListedOffset> {
  const request = listOffsetsRequest(topic, [partition], query, isolation)
  return { ...request, decode: (payload) => only(request.decode(payload)) }
}

function oneFetch(log: Log, offset: number, maxBytes: number, maxWaitMs: number): KafkaRequest<FetchAnswer> {
  const { topic, partition, isolation } = log
  const positions = [{ topic, partitions: [{ partition, offset, maxBytes }] }]
  const request = fetchRequest(positions, { isolation, maxWaitMs, minBytes: 1, maxBytes })
  return {
    ...request,
    decode(payload) {
      const { error, throttleMs, partitions } = request.decode(payload)
      if (error !== null) return { ...NOTHING, error }
      if (throttleMs > 0 && partitions.length === 0) return { ...NOTHING, error: 'THROTTLING_QUOTA_EXCEEDED' }
      return only(partitions)
    },
  }
}

type FetchAnswer = Pick<FetchedPartition, 'error' | 'highWatermark' | 'lastStableOffset' | 'aborted' | 'records'>

const NOTHING = { highWatermark: -1, lastStableOffset: -1, aborted: null, records: Buffer.alloc(0) }

function only<T>(answers: readonly T[]): T {
  const [answer] = answers
  if (answer === undefined)
    throw retryable('malformed_response', 'the answer leaves out the partition that was asked for')
  return answer
}

/** What lies below `to`. */
function upTo(set: RecordSet, to: number): RecordSet {
  const above = set.offsets.findIndex((offset) => offset >= to)
  const length = above < 0 ? set.length : above
  return {
    ...set,
    length,
    offsets: set.offsets.subarray(0, length),
    timestamps: set.timestamps.subarray(0, length),
    markers: set.markers.filter(({ offset }) => offset < to),
    nextOffset: to,
  }
}
