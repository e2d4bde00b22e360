import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import { slicesOf } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { encodeHeaders } from '../../infra/runtime/kafka/record-batches/record-headers.ts'

export interface MemoryRecord {
  readonly key?: Buffer | null
  readonly value?: Buffer | null
  readonly timestamp?: number
  readonly headers?: Readonly<Record<string, Buffer>>
}

/** A batch without a broker, for what is decided from a batch alone. */
export function memoryBatch(options: {
  readonly topic: string
  readonly partition: number
  readonly offsets?: readonly number[]
  readonly records?: readonly MemoryRecord[]
  readonly generation?: string
}): ColumnBatch {
  const records = options.records ?? (options.offsets ?? []).map((): MemoryRecord => ({}))
  const at = (index: number): MemoryRecord => records[index] ?? {}
  return {
    topic: options.topic,
    partition: options.partition,
    generation: options.generation ?? 'generation',
    length: records.length,
    bytes: records.reduce((sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0), 0),
    offset: (index) => options.offsets?.[index] ?? index,
    timestamp: (index) => at(index).timestamp ?? 0,
    key: (index) => at(index).key ?? null,
    value: (index) => at(index).value ?? null,
    header: (index, name) => at(index).headers?.[name] ?? null,
    headerNames: (index) => Object.keys(at(index).headers ?? {}),
    offsets: Float64Array.from(records, (_, index) => options.offsets?.[index] ?? index),
    timestamps: Float64Array.from(records, ({ timestamp }) => timestamp ?? 0),
    keys: slicesOf(records.map(({ key }) => key ?? null)),
    values: slicesOf(records.map(({ value }) => value ?? null)),
    headers: slicesOf(records.map(({ headers }) => encodedHeaders(headers))),
  }
}

function encodedHeaders(headers: MemoryRecord['headers']): Buffer {
  const list = Object.entries(headers ?? {}).map(([key, value]) => ({ key, value }))
  return list.length === 0 ? Buffer.alloc(0) : encodeHeaders(list)
}
