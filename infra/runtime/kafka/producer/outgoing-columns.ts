import type { RecordColumns, Slices } from '../record-batches/columns.ts'
import { encodeHeaders } from '../record-batches/record-headers.ts'
import type { OutgoingRecord } from '../record-writer.ts'

/** Records that were made one by one, in columns. The timestamp, epoch ms, counts on topics without LogAppendTime. */
export function outgoingColumns(records: readonly OutgoingRecord[], timestamp: number): RecordColumns {
  const headers = records.map((record) => encodedHeaders(record))
  return {
    length: records.length,
    timestamps: timestamp,
    keys: slicesOf(records.map(({ key }) => key)),
    values: slicesOf(records.map(({ value }) => value)),
    headers: headers.some((header) => header !== null) ? slicesOf(headers) : null,
  }
}

function encodedHeaders({ headers }: OutgoingRecord): Buffer | null {
  const entries = Object.entries(headers ?? {})
  return entries.length === 0 ? null : encodeHeaders(entries.map(([key, value]) => ({ key, value })))
}

function slicesOf(fields: readonly (Buffer | null)[]): Slices {
  const starts = new Int32Array(fields.length)
  const lengths = new Int32Array(fields.length)
  let size = 0
  for (const [row, field] of fields.entries()) {
    starts[row] = size
    lengths[row] = field?.length ?? -1
    size += field?.length ?? 0
  }
  const bytes = Buffer.allocUnsafe(size)
  for (const [row, field] of fields.entries()) field?.copy(bytes, starts[row])
  return { bytes, starts, lengths }
}
