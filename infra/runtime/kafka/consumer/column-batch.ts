import type { RecordBatch } from '../record-batch.ts'
import type { Slices } from '../record-batches/columns.ts'

/**
 * A batch whose records lie in columns over a fetch buffer, rows [0, length). Read them by position on the hot path, or
 * one by one as a `RecordBatch`.
 */
export interface ColumnBatch extends RecordBatch {
  readonly offsets: Float64Array
  readonly timestamps: Float64Array
  readonly keys: Slices
  readonly values: Slices
  /** As they are encoded in the log (record-headers.ts); a length of 0 for a record without. */
  readonly headers: Slices
}
