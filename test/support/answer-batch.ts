import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import { sliceAt, slicesOf } from '../../infra/runtime/kafka/record-batches/columns.ts'

/** Records without keys and headers, as a reader of answers gets them. */
export function answerBatch(
  partition: number,
  values: readonly (Buffer | null)[],
  timestamps: readonly number[] = values.map(() => 1_000),
): ColumnBatch {
  const slices = slicesOf(values)
  const nothing = slicesOf(values.map(() => null))
  return {
    topic: 'answers',
    partition,
    generation: 'answers-id',
    length: values.length,
    bytes: slices.bytes.length,
    offsets: Float64Array.from(values.keys()),
    timestamps: Float64Array.from(timestamps),
    keys: nothing,
    values: slices,
    headers: nothing,
    offset: (index) => index,
    timestamp: (index) => timestamps[index] as number,
    key: () => null,
    value: (index) => sliceAt(slices, index),
    header: () => null,
    headerNames: () => [],
  }
}
