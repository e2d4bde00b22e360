import { createHash } from 'node:crypto'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { Rejection } from '../../../infra/runtime/kafka/outcome.ts'
import type { SpareMemory } from '../../../infra/runtime/spare-memory.ts'
import type { RecordOrigin } from '../stored-row.ts'
import type { Pend } from './pend.ts'

export interface ChunkLimits {
  readonly maxRows: number
  /** Encoded rows. */
  readonly maxBytes: number
  /** A chunk with fewer is closed when its first record has waited this long. */
  readonly lingerMs: number
}

/**
 * An insert is one block, and so atomic, below 1,048,449 rows and 256 MB. A sealed chunk cannot be made smaller any more, so
 * its limits keep below these whatever is configured.
 */
const CHUNK_CEILING = { rows: 500_000, bytes: 134_217_728 } as const

/** Rows of more partitions of the table do not go into one chunk: each costs an insert of its own. */
const MAX_TABLE_PARTITIONS = 16

/** Of the memory that a chunk begins with. */
const FIRST_BYTES = 65_536
const NEW_LINE = 0x0a

export interface RejectedRecord {
  readonly batch: ColumnBatch
  readonly index: number
  readonly rejection: Rejection
}

/** Records [a, b) of a partition; closed, it does not change any more. */
export interface Chunk {
  readonly a: number
  readonly b: number
  readonly records: number
  readonly rows: number
  /** The encoded rows by ascending offset, each with its line end. Text of its own for each would stay until a full collection. */
  readonly body: Buffer
  /** What the body lies in. */
  readonly memory: Buffer
  /** In parallel: where each row ends in the body, its offset, its table partition, and the record that it came from. */
  readonly ends: readonly number[]
  readonly offsets: readonly number[]
  readonly tablePartitions: readonly number[]
  readonly batches: readonly ColumnBatch[]
  readonly indexes: readonly number[]
  /** Of the column that the table is partitioned by; null without rows or without such a column. */
  readonly times: { readonly from: number; readonly to: number } | null
  readonly rejected: readonly RejectedRecord[]
  readonly latenciesMs: readonly number[]
}

export interface EncodedRow {
  readonly line: string
  readonly origin: RecordOrigin
  readonly tablePartition: number
  /** Null when the table is not partitioned by time. */
  readonly time: number | null
  /** From the append of the event to the append of what is stored; null = the row does not tell. */
  readonly latencyMs: number | null
}

/** The chunk that is being filled. Pure: the caller has the clock and decides when to close. */
export interface OpenChunk {
  readonly records: number
  readonly rows: number
  /** When the first record came; null while empty. */
  readonly since: number | null
  /** False, and nothing is added, when the row belongs into the next chunk. */
  addRow(batch: ColumnBatch, index: number, row: EncodedRow, now: number): boolean
  addRejected(batch: ColumnBatch, index: number, rejection: Rejection, now: number): void
  /** A record that leaves nothing here. */
  addEnded(batch: ColumnBatch, index: number, now: number): void
  /** There are no more records below `offset`. */
  skipTo(offset: number): void
  isFull(): boolean
  /** `a` = where the partition stands: below, everything has ended. */
  close(a: number): Chunk
}

/** `until` = the end of a chunk that is announced already: it takes every record below, whatever the limits say. */
export function openChunk(limits: ChunkLimits, until: number | null, spare: Pick<SpareMemory, 'take'>): OpenChunk {
  const ends: number[] = []
  const offsets: number[] = []
  const tablePartitions: number[] = []
  const batches: ColumnBatch[] = []
  const indexes: number[] = []
  const rejected: RejectedRecord[] = []
  const latenciesMs: number[] = []
  const seen = new Set<number>()
  const maxRows = Math.min(limits.maxRows, CHUNK_CEILING.rows)
  const maxBytes = Math.min(limits.maxBytes, CHUNK_CEILING.bytes)
  let times: { from: number; to: number } | null = null
  let memory: Buffer = Buffer.alloc(0)
  let bytes = 0
  let records = 0
  let b = 0
  let since: number | null = null

  function pass(batch: ColumnBatch, index: number, now: number): void {
    b = batch.offset(index) + 1
    records += 1
    since ??= now
  }

  function append(line: string, size: number): void {
    if (bytes + size > memory.length) {
      const wanted = Math.min(Math.max(2 * memory.length, FIRST_BYTES), maxBytes)
      const larger = spare.take(Math.max(wanted, bytes + size))
      memory.copy(larger, 0, 0, bytes)
      memory = larger
    }
    memory.write(line, bytes)
    bytes += size
    memory[bytes - 1] = NEW_LINE
    ends.push(bytes)
  }

  return {
    get records() {
      return records
    },
    get rows() {
      return ends.length
    },
    get since() {
      return since
    },
    addRow(batch, index, row, now) {
      const size = Buffer.byteLength(row.line) + 1
      if (until === null && ends.length > 0) {
        const another = !seen.has(row.tablePartition)
        if (bytes + size > maxBytes || (another && seen.size === MAX_TABLE_PARTITIONS)) return false
      }
      pass(batch, index, now)
      seen.add(row.tablePartition)
      append(row.line, size)
      offsets.push(batch.offset(index))
      tablePartitions.push(row.tablePartition)
      batches.push(batch)
      indexes.push(index)
      if (row.latencyMs !== null) latenciesMs.push(row.latencyMs)
      if (row.time !== null) {
        times ??= { from: row.time, to: row.time }
        times.from = Math.min(times.from, row.time)
        times.to = Math.max(times.to, row.time)
      }
      return true
    },
    addRejected(batch, index, rejection, now) {
      pass(batch, index, now)
      rejected.push({ batch, index, rejection })
    },
    addEnded: pass,
    skipTo(offset) {
      b = offset
    },
    isFull: () => (until === null ? ends.length + rejected.length >= maxRows || bytes >= maxBytes : b >= until),
    close: (a) => ({
      a,
      b,
      records,
      rows: ends.length,
      body: memory.subarray(0, bytes),
      memory,
      ends,
      offsets,
      tablePartitions,
      batches,
      indexes,
      times,
      rejected,
      latenciesMs,
    }),
  }
}

/** Names the very rows of a chunk, in their order. */
export function chunkHash({ body }: Pick<Chunk, 'body'>): string {
  return createHash('sha256').update(body).digest('hex').slice(0, 32)
}

/** As it is announced first. */
export function pendOf(chunk: Chunk): Pend {
  return { a: chunk.a, b: chunk.b, rows: chunk.rows, hash: chunkHash(chunk), attempt: 0 }
}

/** Some of its rows, as a body. */
export function partOf({ body, ends }: Chunk, rows: readonly number[]): Buffer {
  if (rows.length === ends.length) return body
  return Buffer.concat(rows.map((row) => body.subarray(row === 0 ? 0 : ends[row - 1], ends[row])))
}
