import { createHash } from 'node:crypto'
import { jsonRow } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { Rejection } from '../../../infra/runtime/kafka/outcome.ts'
import type { SpareMemory } from '../../../infra/runtime/spare-memory.ts'
import type { NativeRows } from '../native/native-rows.ts'
import type { RowFacts } from '../stored-row.ts'
import type { CheckedRow } from './check-row.ts'
import { lineRows, lineSize } from './line-rows.ts'
import type { Pend } from './pend.ts'

export interface ChunkLimits {
  readonly maxRows: number
  /** Of rows: as text, or about what they take without compression. */
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

/** What a row has beside its record's bytes, about. */
const SOURCE_BYTES = 64

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
  /** The rows by ascending offset, as they are inserted. */
  readonly body: Buffer
  /** What the body lies in. */
  readonly memory: Buffer
  /** Some of the rows as a body. */
  pick(rows: readonly number[]): Buffer
  /** In parallel: each row's offset, its table partition, and the record that it came from. */
  readonly offsets: readonly number[]
  readonly tablePartitions: readonly number[]
  readonly batches: readonly ColumnBatch[]
  readonly indexes: readonly number[]
  /** Of the column that the table is partitioned by; null without rows or without such a column. */
  readonly times: { readonly from: number; readonly to: number } | null
  readonly rejected: readonly RejectedRecord[]
  readonly latenciesMs: readonly number[]
}

/** The chunk that is being filled. Pure: the caller has the clock and decides when to close. */
export interface OpenChunk {
  readonly records: number
  readonly rows: number
  /** When the first record came; null while empty. */
  readonly since: number | null
  /** False, and nothing is added, when the row belongs into the next chunk. */
  addRow(batch: ColumnBatch, index: number, row: CheckedRow, now: number): boolean
  /** The same for a record that `native` has read. */
  addRead(batch: ColumnBatch, index: number, now: number): boolean
  /** Null when rows go as text. */
  readonly native: NativeRows | null
  addRejected(batch: ColumnBatch, index: number, rejection: Rejection, now: number): void
  /** A record that leaves nothing here. */
  addEnded(batch: ColumnBatch, index: number, now: number): void
  /** There are no more records below `offset`. */
  skipTo(offset: number): void
  isFull(): boolean
  /** `a` = where the partition stands: below, everything has ended. */
  close(a: number): Chunk
}

/**
 * `until` = the end of a chunk that is announced already: it takes every record below, whatever the limits say. `native` = where rows
 * go by columns.
 */
export function openChunk(
  limits: ChunkLimits,
  until: number | null,
  spare: Pick<SpareMemory, 'take'>,
  native: NativeRows | null = null,
): OpenChunk {
  const offsets: number[] = []
  const tablePartitions: number[] = []
  const batches: ColumnBatch[] = []
  const indexes: number[] = []
  const rejected: RejectedRecord[] = []
  const latenciesMs: number[] = []
  const seen = new Set<number>()
  const maxRows = Math.min(limits.maxRows, CHUNK_CEILING.rows)
  const maxBytes = Math.min(limits.maxBytes, CHUNK_CEILING.bytes)
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  let lastPartition = Number.NaN
  const lines = lineRows(maxBytes, spare)
  let bytes = 0
  let records = 0
  let b = 0
  let since: number | null = null

  function pass(batch: ColumnBatch, index: number, now: number): void {
    b = (batch.offsets[index] as number) + 1
    records += 1
    since ??= now
  }

  /** False when the row belongs into the next chunk; else its values have to follow. */
  function accept(batch: ColumnBatch, index: number, row: RowFacts, size: number, now: number): boolean {
    const { tablePartition, time, latencyMs } = row
    const another = tablePartition !== lastPartition && !seen.has(tablePartition)
    if (until === null && offsets.length > 0) {
      if (bytes + size > maxBytes || (another && seen.size === MAX_TABLE_PARTITIONS)) return false
    }
    pass(batch, index, now)
    bytes += size
    if (another) seen.add(tablePartition)
    lastPartition = tablePartition
    offsets.push(batch.offsets[index] as number)
    tablePartitions.push(tablePartition)
    batches.push(batch)
    indexes.push(index)
    if (latencyMs !== null) latenciesMs.push(latencyMs)
    if (time !== null) {
      if (time < from) from = time
      if (time > to) to = time
    }
    return true
  }

  const recordSize = (batch: ColumnBatch, index: number): number =>
    SOURCE_BYTES + Math.max(0, batch.values.lengths[index] as number)

  return {
    get records() {
      return records
    },
    get rows() {
      return offsets.length
    },
    get since() {
      return since
    },
    native,
    addRow(batch, index, row, now) {
      if (native !== null) {
        if (!accept(batch, index, row, recordSize(batch, index), now)) return false
        native.add(row.values)
        return true
      }
      const line = jsonRow(row.values)
      const size = lineSize(line)
      if (!accept(batch, index, row, size, now)) return false
      lines.append(line, size)
      return true
    },
    addRead(batch, index, now) {
      if (native === null || !accept(batch, index, native.facts, recordSize(batch, index), now)) return false
      native.write(batch, index)
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
    isFull: () => (until === null ? offsets.length + rejected.length >= maxRows || bytes >= maxBytes : b >= until),
    close: (a) => ({
      a,
      b,
      records,
      rows: offsets.length,
      ...(native?.take(spare) ?? lines.take()),
      offsets,
      tablePartitions,
      batches,
      indexes,
      times: from <= to ? { from, to } : null,
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
export function partOf(chunk: Chunk, rows: readonly number[]): Buffer {
  return rows.length === chunk.rows ? chunk.body : chunk.pick(rows)
}
