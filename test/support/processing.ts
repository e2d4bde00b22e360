import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { type AvroType, parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import {
  type BatchHandler,
  openOutcome,
  type Rejection,
  type SealedOutcome,
} from '../../infra/runtime/kafka/outcome.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { EventRecord } from '../../processors/compile/step.ts'
import type { TableRow, Tables } from '../../processors/lookups/tables.ts'
import { createProcessBatch } from '../../processors/process-batch.ts'
import { createVectorsOfBatches, type VectorsOfBatches } from '../../processors/vectors-of-batches.ts'
import type { FeatureVector } from '../../schemas/generated/records.ts'
import type { AvroSchema, CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { memoryRegistry } from './memory-registry.ts'

export const FLIGHTS = 'infra/sample/flights'
export const ORDERS = 'test/fixtures/pipelines/orders'
export const EVENT_SCHEMA_ID = 7
export const VECTOR_SCHEMA_ID = 9

/** `events` or `features` records that the stages' own encoding made. */
export interface Processing {
  readonly events: AvroType
  readonly vectors: AvroType
  readonly handler: BatchHandler
  readonly vectorsOf: VectorsOfBatches
  /** Value of an event record. */
  event(record: object): Buffer
  /** A features record's value, as an object. */
  vector(value: Buffer): FeatureVector
}

export function memoryTables(rows: Readonly<Record<string, TableRow>>): Tables & { readonly asked: string[][] } {
  const asked: string[][] = []
  return {
    asked,
    async fetch(keys) {
      asked.push([...keys].flatMap(([table, wanted]) => [...wanted].map((key) => `${table}/${key}`)))
      return { row: (table, key) => rows[`${table}/${key}`] ?? null }
    },
  }
}

/** The processors of a pipeline on real Avro, without Kafka, registry and Redis. */
export async function processing(
  pipeline: CompiledPipeline,
  tables: Tables = memoryTables({}),
  more: ReadonlyMap<number, AvroSchema> = new Map(),
): Promise<Processing> {
  const events = parseAvroSchema(pipeline.event.schema, 'event')
  const vectors = parseAvroSchema(await readContract('feature-vector'), 'feature-vector')
  const read = vectors.readerOf(vectors)
  const deps = {
    pipeline,
    events: createAvroReader<EventRecord>({
      schema: pipeline.event.schema,
      name: 'event',
      registry: memoryRegistry(new Map([[EVENT_SCHEMA_ID, pipeline.event.schema], ...more])),
      clock: systemClock,
      unknownSchemaWaitMs: -1,
    }),
    tables,
    schemaId: VECTOR_SCHEMA_ID,
    encode: (vector: FeatureVector) => vectors.encode(VECTOR_SCHEMA_ID, vector),
    observer: { processed: () => {} },
  }
  return {
    events,
    vectors,
    handler: createProcessBatch(deps),
    vectorsOf: createVectorsOfBatches(deps),
    event: (record) => events.encode(EVENT_SCHEMA_ID, record),
    vector: (value) => read(value) as FeatureVector,
  }
}

/** Hands batches to a handler as a hop does. */
export async function handled(
  handler: BatchHandler,
  batches: readonly ColumnBatch[],
  output: string,
): Promise<readonly SealedOutcome[]> {
  const open = batches.map((batch) => openOutcome(batch, [output]))
  await handler.handle(open)
  return open.map((outcome) => outcome.seal())
}

/** Each settled record's end, in order: the value that was emitted, or the rejection. */
export function endsOf(outcome: SealedOutcome, output: string): readonly (Buffer | Rejection)[] {
  const ends: (Buffer | Rejection)[] = []
  for (const { index, value } of outcome.emissions.get(output) ?? []) ends[index] = value
  for (const { length, sources, values } of outcome.columns.get(output) ?? []) {
    for (let row = 0; row < length; row++) {
      const index = sources[row] as number
      if (index < outcome.settled) ends[index] = sliceAt(values, row) as Buffer
    }
  }
  for (const [index, rejection] of outcome.rejections) ends[index] = rejection
  return ends
}
