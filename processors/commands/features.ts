import { join } from 'node:path'
import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { type AvroType, parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'
import type { CompiledPipeline, CompiledTable } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { PipelineError } from '../../schemas/pipeline/problems.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import type { EventRecord } from '../compile/step.ts'
import { createFeaturesOfBatch } from '../features-of-batch.ts'
import type { TableRow, Tables } from '../lookups/tables.ts'

/** An event, and the rows that tables hold when it is processed, by table. */
export interface FeatureCase {
  readonly event: EventRecord
  readonly tables: ReadonlyMap<string, EventRecord>
}

export type FeatureCaseResult =
  | {
      readonly ok: true
      /** float32 values in the pipeline's order; NaN = missing. */
      readonly features: readonly number[]
      readonly degraded: boolean
    }
  | { readonly ok: false; readonly reject: string; readonly message: string }

/**
 * What the processors make of events, without Kafka, registry or Redis: the same code on the same bytes. Throws
 * PipelineError when an event or a row does not fit its schema.
 */
export async function featuresOf(
  pipelineFolder: string,
  cases: readonly FeatureCase[],
): Promise<readonly FeatureCaseResult[]> {
  const pipeline = await loadPipeline(pipelineFolder)
  const type = parseAvroSchema(pipeline.event.schema, 'the event schema')
  const results: FeatureCaseResult[] = []
  for (const [at, { event, tables }] of cases.entries()) {
    const where = (path: string): string => `[${at}].${path}`
    const rows = caseTables(pipeline, tables, where)
    const outcomesOf = createFeaturesOfBatch({ pipeline, events: bareReader(type), tables: rows })
    const value = encode(pipeline, type, event, where('event'))
    const [[outcome] = []] = await outcomesOf([batchOf(pipeline.event.topic, value)])
    results.push(resultOf(outcome))
  }
  return results
}

type Outcome = Awaited<ReturnType<ReturnType<typeof createFeaturesOfBatch>>>[number][number]

function resultOf(outcome: Outcome | undefined): FeatureCaseResult {
  if (outcome === undefined || 'deferral' in outcome) throw new Error('an event without an outcome')
  if (outcome.ok) return { ok: true, features: outcome.vector.features, degraded: outcome.vector.degraded }
  return { ok: false, reject: outcome.rejection.reason, message: outcome.rejection.message }
}

/** Encoded and decoded again, so that what the schema fills in or rounds is what the stage would see. */
function encode(pipeline: CompiledPipeline, type: AvroType, record: EventRecord, path: string): Buffer {
  const problem = type.problem(record)
  if (problem === null) return type.encode(0, record)
  throw new PipelineError([{ file: join(pipeline.folder, 'golden.json'), path, message: problem }])
}

function caseTables(
  pipeline: CompiledPipeline,
  records: ReadonlyMap<string, EventRecord>,
  where: (path: string) => string,
): Tables {
  const rows = new Map<string, { readonly key: string; readonly row: TableRow }>()
  for (const table of pipeline.tables) {
    const given = records.get(table.name)
    if (given !== undefined) rows.set(table.name, rowOf(pipeline, table, given, where(`tables.${table.name}`)))
  }
  return {
    fetch: async () => ({
      row(table, key) {
        const found = rows.get(table)
        return found !== undefined && found.key === key ? found.row : null
      },
    }),
  }
}

function rowOf(
  pipeline: CompiledPipeline,
  table: CompiledTable,
  given: EventRecord,
  path: string,
): { readonly key: string; readonly row: TableRow } {
  const type = parseAvroSchema(table.schema, `the schema of table ${table.name}`)
  const record = type.readerOf(type)(encode(pipeline, type, given, path)) as EventRecord
  const time = record[table.timeField]
  const parts = table.keyFields.map((field) => record[field] as string | number | boolean)
  return { key: tableKeyText(parts), row: { time: typeof time === 'number' ? time : null, record } }
}

/** Reads what this schema itself has written. */
function bareReader(type: AvroType): Pick<AvroReader<EventRecord>, 'prepare' | 'decode'> {
  const read = type.readerOf(type)
  return {
    prepare: async () => {},
    decode: (value) => ({ ok: true, record: read(value as Buffer) as EventRecord, schemaId: 0 }),
  }
}

function batchOf(topic: string, value: Buffer): RecordBatch {
  return {
    topic,
    partition: 0,
    generation: '',
    length: 1,
    bytes: value.length,
    offset: () => 0,
    timestamp: () => 0,
    key: () => null,
    value: () => value,
    header: () => null,
    headerNames: () => [],
  }
}
