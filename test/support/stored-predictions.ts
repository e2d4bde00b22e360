import { type AvroReader, createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { type AvroType, parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import { createSpareMemory } from '../../infra/runtime/spare-memory.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { createNativeTable } from '../../sinks/clickhouse/native/native-rows.ts'
import { predictionRows } from '../../sinks/clickhouse/prediction-rows.ts'
import { rowCheck } from '../../sinks/clickhouse/sealed/check-row.ts'
import { type Chunk, openChunk } from '../../sinks/clickhouse/sealed/chunk.ts'
import { createRecordQueue } from '../../sinks/clickhouse/sealed/record-queue.ts'
import type { RowKind } from '../../sinks/clickhouse/stored-row.ts'
import { memoryRegistry } from './memory-registry.ts'

const contract = await readContract('prediction')
const fields = contract['fields'] as readonly AvroSchema[]

/** What predictions may have been written with: by this release, by one before it and by one after it. */
export const PREDICTION_WRITERS: readonly {
  readonly name: string
  readonly schema: AvroSchema
  readonly type: AvroType
}[] = [
  { name: 'ours', schema: contract },
  { name: 'older', schema: { ...contract, fields: fields.slice(0, -1) } },
  { name: 'newer', schema: { ...contract, fields: [...fields, { name: 'more', type: 'long', default: 0 }] } },
].map(({ name, schema }) => ({ name, schema, type: parseAvroSchema(schema, name) }))

const registry = memoryRegistry(new Map(PREDICTION_WRITERS.map(({ schema }, id) => [id, schema])))

/** By columns, straight from the bytes where that can be; or by text, from objects. */
export type StoredBy = 'columns' | 'text'

export interface StoredChunks {
  readonly chunks: readonly Chunk[]
  /** Of these records an object was made. */
  readonly decoded: number
}

/** The chunks that the sink of a table of predictions makes of a batch. */
export async function chunksOf(batch: ColumnBatch, by: StoredBy, maxRows = 100_000): Promise<StoredChunks> {
  const reader = createAvroReader<Prediction>({
    schema: contract,
    name: 'prediction',
    registry,
    clock: systemClock,
    unknownSchemaWaitMs: -1,
  })
  let decoded = 0
  const counted: AvroReader<Prediction> = {
    ...reader,
    decode(value) {
      decoded += 1
      return reader.decode(value)
    },
  }
  const kind: RowKind<Prediction> = predictionRows('flights')
  const native = by === 'columns' ? createNativeTable(kind, counted, contract) : null
  const queue = createRecordQueue({ reader: counted, check: rowCheck(kind), ended: () => false, mayReject: true })
  const spare = createSpareMemory(1_000_000)
  const chunks: Chunk[] = []
  queue.add(batch)
  await queue.prepare()
  while (!queue.isEmpty()) {
    const open = openChunk({ maxRows, maxBytes: 100_000_000, lingerMs: 0 }, null, spare, native?.begin())
    while (!queue.isEmpty() && queue.fill(open, null, 0).step === 'more');
    chunks.push(open.close(0))
  }
  return { chunks, decoded }
}
