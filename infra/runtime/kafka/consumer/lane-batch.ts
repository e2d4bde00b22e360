import { sliceAt, slicesBetween } from '../record-batches/columns.ts'
import type { RecordSet } from '../record-batches/decode-record-set.ts'
import { headerAt, headersAt } from '../record-batches/record-headers.ts'
import type { ColumnBatch } from './column-batch.ts'

/** Rows [from, to) of a record set as a batch: views, nothing is copied. `bytes` is the size of their keys and values. */
export function laneBatch(
  source: { readonly topic: string; readonly partition: number; readonly generation: string },
  set: RecordSet,
  from: number,
  to: number,
  bytes: number,
): ColumnBatch {
  const length = to - from
  const records = {
    length,
    offsets: set.offsets.subarray(from, to),
    timestamps: set.timestamps.subarray(from, to),
    keys: slicesBetween(set.keys, from, to),
    values: slicesBetween(set.values, from, to),
    headers: slicesBetween(set.headers, from, to),
  }
  const at = (index: number): number => {
    if (!(index >= 0 && index < length)) throw new RangeError(`record ${index} of a batch of ${length}`)
    return index
  }
  return {
    ...records,
    topic: source.topic,
    partition: source.partition,
    generation: source.generation,
    bytes,
    offset: (index) => records.offsets[at(index)] as number,
    timestamp: (index) => records.timestamps[at(index)] as number,
    key: (index) => sliceAt(records.keys, at(index)),
    value: (index) => sliceAt(records.values, at(index)),
    header: (index, name) => headerAt(records, at(index), Buffer.from(name)) ?? null,
    headerNames: (index) => headersAt(records, at(index)).map(({ key }) => key),
  }
}
