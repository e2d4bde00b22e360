import type { Rejection } from '../../infra/runtime/kafka/outcome.ts'
import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'

/** A row, column by column: what JSON can say, plus numbers that are not finite. Times are epoch ms. */
export type Row = Readonly<Record<string, unknown>>

/** What becomes of one record: a row, a dead letter, or nothing because the record is not this sink's. */
export type RowResult =
  | { readonly kind: 'row'; readonly row: Row; readonly origin: RecordOrigin }
  | { readonly kind: 'rejection'; readonly rejection: Rejection }
  | { readonly kind: 'skip' }

/** Whose record it was, for the dead letter in case the store refuses the row. */
export type RecordOrigin = Pick<Rejection, 'tenant' | 'eventId' | 'origin'>

/** Where the row comes from: every table has these columns. */
export function sourceColumns(batch: RecordBatch, index: number) {
  return {
    written_at: batch.timestamp(index),
    kafka_generation: batch.generation,
    kafka_partition: batch.partition,
    kafka_offset: batch.offset(index),
  }
}
export const SOURCE_COLUMNS = ['written_at', 'kafka_generation', 'kafka_partition', 'kafka_offset'] as const

/** A table and how its rows come about. */
export interface RowKind<T> {
  readonly table: string
  /** The columns that every row has. */
  readonly columns: readonly string[]
  /** Pure; never throws for what is in the record. */
  row(record: T, batch: RecordBatch, index: number): RowResult
}
