import type { KafkaMessage } from 'kafkajs'
import type { TakeLimits } from './batch-source.ts'
import type { RecordBatch } from './record-batch.ts'

/** Fetched records of one partition that wait to be taken. */
interface Chunk {
  readonly messages: readonly KafkaMessage[]
  /** Position behind the chunk: its last offset + 1, or more where the log has a gap there. */
  readonly end: number
  readonly arrivedAt: number
}

/** One assigned partition. A new assignment makes new lanes, so that whatever belongs to an old one is recognised. */
export interface Lane {
  readonly partition: number
  readonly generation: string
  /** Offset that the next fetched batch must start at; null until the lane's start is known. */
  expected: number | null
  /** Everything below has ended; null until something has. */
  settledTo: number | null
  committedTo: number | null
  paused: boolean
  strayFetches: number
  /** Monotonic ms before which nothing is handed out. */
  heldUntil: number
  queue: Chunk[]
  queuedBytes: number
  taken: LaneBatch | null
}

interface LaneBatch extends RecordBatch {
  readonly messages: readonly KafkaMessage[]
  readonly end: number
  readonly arrivedAt: number
}

export function createLane(partition: number, generation: string): Lane {
  return {
    partition,
    generation,
    expected: null,
    settledTo: null,
    committedTo: null,
    paused: false,
    strayFetches: 0,
    heldUntil: 0,
    queue: [],
    queuedBytes: 0,
    taken: null,
  }
}

export function enqueue(lane: Lane, messages: readonly KafkaMessage[], end: number, now: number): void {
  lane.queue.push({ messages, end, arrivedAt: now })
  lane.queuedBytes += bytesOf(messages)
  lane.expected = end
}

/** Takes the lane's oldest records, within both bounds but at least one. One batch of a lane is out at a time. */
export function takeFrom(
  topic: string,
  lane: Lane,
  bounds: { readonly maxRows: number; readonly maxBytes: number },
  now: number,
): RecordBatch | null {
  const oldest = lane.queue[0]
  if (oldest === undefined || lane.taken !== null || lane.heldUntil > now) return null
  if (bounds.maxRows <= 0 || bounds.maxBytes <= 0) return null
  const messages: KafkaMessage[] = []
  let bytes = 0
  let end = oldest.end
  for (let chunk = lane.queue.shift(); chunk !== undefined; chunk = lane.queue.shift()) {
    let count = 0
    for (const message of chunk.messages) {
      const size = sizeOf(message)
      if (messages.length >= bounds.maxRows || (messages.length > 0 && bytes + size > bounds.maxBytes)) break
      messages.push(message)
      bytes += size
      count += 1
    }
    const next = chunk.messages[count]
    end = next === undefined ? chunk.end : Number(next.offset)
    if (next === undefined) continue
    lane.queue.unshift(count === 0 ? chunk : { ...chunk, messages: chunk.messages.slice(count) })
    break
  }
  lane.taken = laneBatch(topic, lane, messages, end, oldest.arrivedAt)
  lane.queuedBytes -= bytes
  return lane.taken
}

/** False when the batch is not the lane's own (any more). */
export function settleIn(lane: Lane, batch: RecordBatch, count: number, heldUntil: number): boolean {
  const taken = lane.taken
  if (taken === null || taken !== batch) return false
  lane.taken = null
  lane.heldUntil = heldUntil
  const rest = taken.messages.slice(count)
  if (rest[0] === undefined) {
    lane.settledTo = taken.end
    return true
  }
  lane.queue.unshift({ messages: rest, end: taken.end, arrivedAt: taken.arrivedAt })
  lane.queuedBytes += bytesOf(rest)
  if (count > 0) lane.settledTo = Number(rest[0].offset)
  return true
}

/** Everything below this offset has ended; null while the lane's start is unknown. Moves past gaps in the log, too. */
export function positionOf(lane: Lane): number | null {
  if (lane.expected === null) return null
  const next = lane.taken?.messages[0] ?? lane.queue[0]?.messages[0]
  return next === undefined ? lane.expected : Number(next.offset)
}

/** How long until the lanes' queue should be handed out, ms; 0 = now, null = nothing is queued. */
export function readyInMs(lanes: Iterable<Lane>, limits: TakeLimits, now: number): number | null {
  let rows = 0
  let bytes = 0
  let oldest = Number.POSITIVE_INFINITY
  let released = Number.POSITIVE_INFINITY
  for (const lane of lanes) {
    if (lane.taken !== null || lane.queue.length === 0) continue
    if (lane.heldUntil > now) {
      released = Math.min(released, lane.heldUntil - now)
      continue
    }
    for (const chunk of lane.queue) rows += chunk.messages.length
    bytes += lane.queuedBytes
    oldest = Math.min(oldest, lane.queue[0]?.arrivedAt ?? Number.POSITIVE_INFINITY)
  }
  if (rows >= limits.maxRows || bytes >= limits.maxBytes) return 0
  const inMs = Math.min(released, Math.max(0, oldest + limits.lingerMs - now))
  return Number.isFinite(inMs) ? inMs : null
}

function laneBatch(
  topic: string,
  lane: Lane,
  messages: readonly KafkaMessage[],
  end: number,
  arrivedAt: number,
): LaneBatch {
  const at = (index: number): KafkaMessage => {
    const message = messages[index]
    if (message === undefined) throw new RangeError(`record ${index} of a batch of ${messages.length}`)
    return message
  }
  return {
    topic,
    partition: lane.partition,
    generation: lane.generation,
    length: messages.length,
    bytes: bytesOf(messages),
    offset: (index) => Number(at(index).offset),
    timestamp: (index) => Number(at(index).timestamp),
    key: (index) => at(index).key,
    value: (index) => at(index).value,
    header: (index, name) => lastHeader(at(index).headers?.[name]),
    headerNames: (index) => Object.keys(at(index).headers ?? {}),
    messages,
    end,
    arrivedAt,
  }
}

type HeaderValue = Buffer | string | null

/** A header may have a null value, which the client's own type leaves out. */
function lastHeader(header: HeaderValue | HeaderValue[] | undefined): Buffer | null {
  const last = Array.isArray(header) ? header.at(-1) : header
  return last === undefined || last === null ? null : Buffer.from(last)
}

function bytesOf(messages: readonly KafkaMessage[]): number {
  let bytes = 0
  for (const message of messages) bytes += sizeOf(message)
  return bytes
}

function sizeOf({ key, value }: KafkaMessage): number {
  return (key?.length ?? 0) + (value?.length ?? 0)
}
