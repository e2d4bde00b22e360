import type { Rejection } from '../../infra/runtime/kafka/outcome.ts'
import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'
import { type ColumnType, TIME } from './column-types.ts'

/** A row, column by column: what JSON can say, plus numbers that are not finite. Times are epoch ms. */
export type Row = Readonly<Record<string, unknown>>

/** What becomes of one record: a row, a dead letter, or nothing because the record is not this sink's. */
export type RowResult =
  | { readonly kind: 'row'; readonly row: Row; readonly origin: RecordOrigin }
  | { readonly kind: 'rejection'; readonly rejection: Rejection }
  | { readonly kind: 'skip' }

/** Whose record it was, for the dead letter in case the store refuses the row. */
export type RecordOrigin = Pick<Rejection, 'tenant' | 'eventId' | 'origin'>

/** What is to be known of a row beside its values. */
export interface RowFacts {
  readonly tablePartition: number
  /** Of the column that the table is partitioned by; null when it is not partitioned by time. */
  readonly time: number | null
  /** From the append of the event to the append of what is stored; null = the row does not tell. */
  readonly latencyMs: number | null
}

/** Where the row comes from: every table has these columns. */
export function sourceColumns(batch: RecordBatch, index: number) {
  return {
    written_at: batch.timestamp(index),
    kafka_generation: batch.generation,
    kafka_partition: batch.partition,
    kafka_offset: batch.offset(index),
  }
}
export const SOURCE_TYPES = {
  written_at: TIME,
  kafka_generation: 'LowCardinality(String)',
  kafka_partition: 'Int32',
  kafka_offset: 'UInt64',
} as const satisfies Record<string, ColumnType>

/** A table and how its rows come about. */
export interface RowKind<T> {
  readonly table: string
  /** The columns that every row has. */
  readonly types: Readonly<Record<string, ColumnType>>
  /** How the table is partitioned: an insert is atomic only within one partition. Null = it is not. */
  readonly partitionBy: TablePartition | null
  /**
   * Columns that have one text in every row. Where it is given, a row is these, the record's fields under their names and
   * `sourceColumns`, nothing else: rows can then be made from the record's bytes, and go to ClickHouse by columns (native/).
   */
  readonly constants?: Readonly<Record<string, string>>
  /** Pure; never throws for what is in the record. */
  row(record: T, batch: RecordBatch, index: number): RowResult
}

export interface TablePartition {
  /** A column of times. */
  readonly column: string
  /** Equal at least where the table's PARTITION BY is. */
  partitionOf(epochMs: number): number
}

const DAY_MS = 86_400_000

export const byDay = (column: string): TablePartition => ({
  column,
  partitionOf: (epochMs) => Math.floor(epochMs / DAY_MS),
})

export const byMonth = (column: string): TablePartition => ({
  column,
  partitionOf(epochMs) {
    const time = new Date(epochMs)
    return time.getUTCFullYear() * 100 + time.getUTCMonth() + 1
  },
})
