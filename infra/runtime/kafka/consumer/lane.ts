import type { RecordSet } from '../record-batches/decode-record-set.ts'
import type { ColumnBatch } from './column-batch.ts'
import { laneBatch } from './lane-batch.ts'
import type { TakeLimits } from './take-limits.ts'

/** Fetched records that have not all ended. */
interface Chunk {
  readonly set: RecordSet
  /** What it keeps in memory: the buffer of its records, and their columns. */
  readonly memory: number
  readonly arrivedAt: number
}

/** Offsets and timestamps as doubles, positions and lengths of keys, values and headers. */
const COLUMN_BYTES = 2 * 8 + 6 * 4
/**
 * What a fetch costs beside, and the batch that it is handed out as: views and their memory, as measured. A lane that waits is fetched
 * record by record, and holds more of this than of records.
 */
const CHUNK_BYTES = 6_144

/**
 * The records of one assigned partition between fetch and commit, in offset order:
 *
 *     settled           cursor            fetchAt
 *        │ out, oldest first │ queued         │ not fetched yet
 *
 * Everything from `settled` on stays in memory, so that a rewind hands it out again without a fetch.
 */
export interface Lane {
  readonly partition: number
  /** Where to fetch next. */
  readonly fetchAt: number
  /** Everything below has ended. Moves over gaps in the log and over markers, too. */
  readonly settled: number
  readonly heldBytes: number
  readonly queuedRows: number
  readonly queuedBytes: number
  /** When the oldest queued record came, monotonic ms; null when nothing is queued. */
  readonly oldestAt: number | null
  /** Nothing is handed out before, monotonic ms. */
  readonly heldUntil: number
  readonly batchesOut: number
  /** Begins at `offset` with nothing in memory. */
  begin(offset: number): void
  /** What came for `fetchAt`, perhaps nothing but markers. */
  accept(set: RecordSet, now: number): void
  /** The log has nothing between `fetchAt` and this offset (any more). */
  skipTo(offset: number): void
  /** What is left of the oldest fetch, which is the most that `take` takes; its bytes as its records have on average. */
  next(): { readonly rows: number; readonly bytes: number }
  /** Oldest queued records of one fetch within both bounds, at least one; null when nothing is queued. */
  take(bounds: { readonly maxRows: number; readonly maxBytes: number }): ColumnBatch | null
  /** False for a batch that is not out. Throws when an older one is. */
  settle(batch: ColumnBatch): boolean
  owns(batch: ColumnBatch): boolean
  /** All that is out becomes stale. True when `offset` has to be fetched because it is not in memory. */
  rewind(offset: number, heldUntil: number): boolean
  /** Forgets everything; what is out becomes stale. */
  clear(): void
}

export function createLane(topic: string, partition: number, generation: string): Lane {
  const source = { topic, partition, generation }
  let chunks: Chunk[] = []
  let out: ColumnBatch[] = []
  /** Where the queue begins: a chunk, and a row of it. */
  let cursor = { chunk: 0, row: 0 }
  let fetchAt = 0
  let settled = 0
  let heldBytes = 0
  let queuedRows = 0
  let heldUntil = 0

  const queueAt = (offset: number): void => {
    const chunk = chunks.findIndex(({ set }) => lastOffset(set) >= offset)
    const found = chunks[chunk]
    cursor = found === undefined ? { chunk: chunks.length, row: 0 } : { chunk, row: firstRowAt(found.set, offset) }
    queuedRows = -cursor.row
    for (const { set } of chunks.slice(cursor.chunk)) queuedRows += set.length
  }
  /** Offset of the first record that has not ended. */
  const firstUnsettled = (): number => {
    const oldest = out[0]
    if (oldest !== undefined) return oldest.offsets[0] as number
    return chunks[cursor.chunk]?.set.offsets[cursor.row] ?? fetchAt
  }
  const moveSettled = (to: number): void => {
    settled = to
    let done = 0
    for (const { set, memory } of chunks) {
      if (lastOffset(set) >= settled) break
      heldBytes -= memory
      done += 1
    }
    if (done === 0) return
    chunks.splice(0, done)
    cursor = { chunk: cursor.chunk - done, row: cursor.row }
  }
  const clear = (): void => {
    chunks = []
    out = []
    cursor = { chunk: 0, row: 0 }
    heldBytes = 0
    queuedRows = 0
  }
  const begin = (offset: number): void => {
    clear()
    fetchAt = offset
    settled = offset
  }

  return {
    partition,
    get fetchAt() {
      return fetchAt
    },
    get settled() {
      return settled
    },
    get heldBytes() {
      return heldBytes
    },
    get queuedRows() {
      return queuedRows
    },
    get queuedBytes() {
      const chunk = chunks[cursor.chunk]
      if (chunk === undefined) return 0
      let bytes = (chunk.memory * (chunk.set.length - cursor.row)) / chunk.set.length
      for (let at = cursor.chunk + 1; at < chunks.length; at++) bytes += (chunks[at] as Chunk).memory
      return bytes
    },
    get oldestAt() {
      return chunks[cursor.chunk]?.arrivedAt ?? null
    },
    get heldUntil() {
      return heldUntil
    },
    get batchesOut() {
      return out.length
    },
    begin,
    clear,

    accept(set, now) {
      fetchAt = set.nextOffset
      if (set.length > 0) {
        const memory = CHUNK_BYTES + set.values.bytes.length + set.length * COLUMN_BYTES
        chunks.push({ set, memory, arrivedAt: now })
        heldBytes += memory
        queuedRows += set.length
      }
      moveSettled(firstUnsettled())
    },

    skipTo(offset) {
      fetchAt = offset
      moveSettled(firstUnsettled())
    },

    next() {
      const chunk = chunks[cursor.chunk]
      if (chunk === undefined) return { rows: 0, bytes: 0 }
      const { length, values } = chunk.set
      const rows = length - cursor.row
      return { rows, bytes: (values.bytes.length * rows) / length }
    },

    take({ maxRows, maxBytes }) {
      const chunk = chunks[cursor.chunk]
      if (chunk === undefined || maxRows < 1) return null
      const { set } = chunk
      const from = cursor.row
      const last = Math.min(set.length, from + maxRows)
      let bytes = sizeOf(set, from)
      let to = from + 1
      for (; to < last; to++) {
        const size = sizeOf(set, to)
        if (bytes + size > maxBytes) break
        bytes += size
      }
      cursor = to === set.length ? { chunk: cursor.chunk + 1, row: 0 } : { chunk: cursor.chunk, row: to }
      queuedRows -= to - from
      const batch = laneBatch(source, set, from, to, bytes)
      out.push(batch)
      return batch
    },

    settle(batch) {
      const place = out.indexOf(batch)
      if (place < 0) return false
      if (place > 0) throw new Error(`${topic}/${partition}: a batch is settled before an older one`)
      out.shift()
      moveSettled(firstUnsettled())
      return true
    },

    owns: (batch) => out.includes(batch),

    rewind(offset, until) {
      out = []
      heldUntil = until
      const inMemory = offset >= settled && offset <= fetchAt
      if (inMemory) {
        queueAt(offset)
        moveSettled(firstUnsettled())
      } else {
        begin(offset)
      }
      return !inMemory
    },
  }
}

/** How long until the lanes' queue should be handed out, ms; 0 = now, null = nothing that may be handed out is queued. */
export function readyInMs(
  lanes: Iterable<Lane>,
  limits: TakeLimits,
  maxBatchesOut: number,
  now: number,
): number | null {
  let rows = 0
  let bytes = 0
  let oldest = Number.POSITIVE_INFINITY
  let released = Number.POSITIVE_INFINITY
  for (const lane of lanes) {
    if (lane.oldestAt === null || lane.batchesOut >= maxBatchesOut) continue
    if (lane.heldUntil > now) {
      released = Math.min(released, lane.heldUntil - now)
      continue
    }
    rows += lane.queuedRows
    bytes += lane.queuedBytes
    oldest = Math.min(oldest, lane.oldestAt)
  }
  if (rows >= limits.maxRows || bytes >= limits.maxBytes) return 0
  const inMs = Math.min(released, Math.max(0, oldest + limits.lingerMs - now))
  return Number.isFinite(inMs) ? inMs : null
}

function sizeOf({ keys, values }: RecordSet, row: number): number {
  return Math.max(0, keys.lengths[row] as number) + Math.max(0, values.lengths[row] as number)
}

function lastOffset({ offsets, length }: RecordSet): number {
  return offsets[length - 1] as number
}

/** First row with an offset of at least `offset`; the set has one. */
function firstRowAt({ offsets, length }: RecordSet, offset: number): number {
  let low = 0
  let high = length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if ((offsets[middle] as number) < offset) low = middle + 1
    else high = middle
  }
  return low
}
