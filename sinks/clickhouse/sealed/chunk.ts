import { createHash } from 'node:crypto'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { Rejection } from '../../../infra/runtime/kafka/outcome.ts'
import type { RecordOrigin } from '../stored-row.ts'

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

/** A row that may still be refused: where it came from. */
export interface RowSource {
  readonly batch: ColumnBatch
  readonly index: number
  readonly origin: RecordOrigin
}

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
  /** Encoded rows by ascending offset, and in parallel their offsets and table partitions. */
  readonly lines: readonly string[]
  readonly offsets: readonly number[]
  readonly tablePartitions: readonly number[]
  readonly sources: readonly RowSource[]
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
export function openChunk(limits: ChunkLimits, until: number | null): OpenChunk {
  const lines: string[] = []
  const offsets: number[] = []
  const tablePartitions: number[] = []
  const sources: RowSource[] = []
  const rejected: RejectedRecord[] = []
  const latenciesMs: number[] = []
  const seen = new Set<number>()
  const maxRows = Math.min(limits.maxRows, CHUNK_CEILING.rows)
  const maxBytes = Math.min(limits.maxBytes, CHUNK_CEILING.bytes)
  let times: { from: number; to: number } | null = null
  let bytes = 0
  let records = 0
  let b = 0
  let since: number | null = null

  function pass(batch: ColumnBatch, index: number, now: number): void {
    b = batch.offset(index) + 1
    records += 1
    since ??= now
  }

  return {
    get records() {
      return records
    },
    get rows() {
      return lines.length
    },
    get since() {
      return since
    },
    addRow(batch, index, row, now) {
      const size = Buffer.byteLength(row.line) + 1
      if (until === null && lines.length > 0) {
        const another = !seen.has(row.tablePartition)
        if (bytes + size > maxBytes || (another && seen.size === MAX_TABLE_PARTITIONS)) return false
      }
      pass(batch, index, now)
      seen.add(row.tablePartition)
      bytes += size
      lines.push(row.line)
      offsets.push(batch.offset(index))
      tablePartitions.push(row.tablePartition)
      sources.push({ batch, index, origin: row.origin })
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
    isFull: () => (until === null ? lines.length + rejected.length >= maxRows || bytes >= maxBytes : b >= until),
    close: (a) => ({
      a,
      b,
      records,
      lines,
      offsets,
      tablePartitions,
      sources,
      times,
      rejected,
      latenciesMs,
    }),
  }
}

/** Names the very rows of a chunk, in their order. */
export function chunkHash(lines: readonly string[]): string {
  const hash = createHash('sha256')
  for (const line of lines) hash.update(line).update('\n')
  return hash.digest('hex').slice(0, 32)
}
