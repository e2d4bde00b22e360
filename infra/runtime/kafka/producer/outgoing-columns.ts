import { type RecordColumns, slicesOf } from '../record-batches/columns.ts'
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
