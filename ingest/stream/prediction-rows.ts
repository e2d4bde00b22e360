import { AvroCursor } from '../../infra/runtime/avro/avro-bytes.ts'
import { type AvroReader, createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { SchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { WIRE_HEADER_BYTES, wireSchemaId } from '../../infra/runtime/avro/wire-format.ts'
import type { Backoff } from '../../infra/runtime/backoff.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { untilDone } from '../../infra/runtime/lifecycle/retry.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import { parseRecordSchema } from '../../schemas/pipeline/avro-schema.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import type { PredictionView } from '../answers/answers.ts'
import { predictionView, VIEWED_FIELDS, type ViewedPrediction } from '../answers/prediction-view.ts'

/** Looks at the records of `<p>.predictions` one by one, and makes an object only of those that somebody wants. */
export interface PredictionRows {
  /**
   * Has to resolve before the records of a set are looked at, unless `signal` has aborted. Waits for schemas that the registry
   * may still come to know, and for the registry.
   */
  prepare(set: RecordSet, signal: AbortSignal): Promise<void>
  /** Moves to a record; false when it is no prediction. */
  look(set: RecordSet, row: number): boolean
  /** Of the record that was moved to. */
  hasTenant(name: Buffer): boolean
  originOffset(): number
  key(): string | null
  /** Null when it is not one to be shown. */
  view(partition: number): PredictionView | null
}

export interface PredictionRowsOptions {
  readonly pipeline: string
  /** The contract of predictions. */
  readonly schema: AvroSchema
  readonly registry: SchemaRegistry
  readonly clock: Clock
  readonly logger: Logger
}

/** What predictions begin with, in every version of the contract so far. */
const LEADING = [
  ...['event_id string', 'tenant string', 'segment string', 'event_time long', 'ingested_at long'],
  ...['event_schema_id int', 'origin_generation string', 'origin_offset long'],
]
const UNKNOWN_SCHEMA_WAIT_MS = 10_000
const LOOK_AGAIN_MS = 200
const BACKOFF: Backoff = { baseMs: 100, maxMs: 5_000 }

export function createPredictionRows({
  pipeline,
  schema,
  registry,
  clock,
  logger,
}: PredictionRowsOptions): PredictionRows {
  const reader = createAvroReader<ViewedPrediction>({
    schema: onlyFields(schema, VIEWED_FIELDS),
    name: 'prediction',
    registry,
    clock,
    unknownSchemaWaitMs: UNKNOWN_SCHEMA_WAIT_MS,
  })
  /** By schema id: whether it begins as above. */
  const leading = new Map<number, boolean>()
  const cursor = new AvroCursor()
  let current: RecordSet | null = null
  let at = 0
  let tenantStart = 0
  let tenantLength = 0
  let origin = 0
  /** Of a record that is not laid out as expected, and of one that was asked for. */
  let record: ViewedPrediction | null = null

  function decode(): ViewedPrediction | null {
    const value = current === null ? null : sliceAt(current.values, at)
    const decoded = reader.decode(value)
    record = decoded.ok ? decoded.record : null
    return record
  }

  /** Finds tenant and origin by position. */
  function find(set: RecordSet, row: number): boolean {
    cursor.bytes = set.values.bytes
    cursor.at = (set.values.starts[row] as number) + WIRE_HEADER_BYTES
    cursor.end = (set.values.starts[row] as number) + (set.values.lengths[row] as number)
    if (!cursor.pass(cursor.length())) return false
    tenantLength = cursor.length()
    tenantStart = cursor.at
    if (!(cursor.pass(tenantLength) && cursor.pass(cursor.length()))) return false
    if (!(cursor.passLong() && cursor.passLong() && cursor.passLong() && cursor.pass(cursor.length()))) return false
    origin = cursor.long()
    return origin >= 0
  }

  return {
    async prepare(set, signal) {
      const ids = unknownIds(set, leading)
      while (ids.size > 0 && !signal.aborted) {
        await untilDone('schemas of predictions', () => reader.prepareIds(ids), {
          backoff: BACKOFF,
          clock,
          logger,
          signal,
        })
        for (const id of ids) {
          const writer = reader.writerSchema(id)
          if (writer !== null) leading.set(id, beginsAsExpected(writer))
          if (writer !== null || !isPending(reader, id)) ids.delete(id)
        }
        if (ids.size > 0) await clock.sleep(LOOK_AGAIN_MS, signal)
      }
    },
    look(set, row) {
      current = set
      at = row
      record = null
      const start = set.values.starts[row] as number
      if ((set.values.lengths[row] as number) < WIRE_HEADER_BYTES || set.values.bytes[start] !== 0) return false
      const begins = leading.get(set.values.bytes.readInt32BE(start + 1))
      if (begins === undefined) return false
      if (begins) return find(set, row)
      const decoded = decode()
      origin = decoded?.origin_offset ?? -1
      return decoded !== null
    },
    hasTenant(name) {
      if (current === null) return false
      if (record !== null) return record.tenant === name.toString()
      return (
        tenantLength === name.length &&
        current.values.bytes.compare(name, 0, name.length, tenantStart, tenantStart + tenantLength) === 0
      )
    },
    originOffset: () => origin,
    key: () => (current === null ? null : (sliceAt(current.keys, at)?.toString() ?? null)),
    view(partition) {
      const prediction = record ?? decode()
      return prediction === null ? null : predictionView(pipeline, partition, prediction)
    },
  }
}

/** Ids of values that nothing is known about yet. */
function unknownIds(set: RecordSet, known: ReadonlyMap<number, boolean>): Set<number> {
  const ids = new Set<number>()
  const { bytes, starts, lengths } = set.values
  for (let row = 0; row < set.length; row++) {
    const start = starts[row] as number
    if ((lengths[row] as number) < WIRE_HEADER_BYTES || bytes[start] !== 0) continue
    const id = bytes.readInt32BE(start + 1)
    if (!known.has(id)) ids.add(id)
  }
  return ids
}

function isPending(reader: AvroReader<unknown>, id: number): boolean {
  const value = Buffer.alloc(WIRE_HEADER_BYTES)
  value.writeInt32BE(id, 1)
  const decoded = wireSchemaId(value) === null ? null : reader.decode(value)
  return decoded !== null && !decoded.ok && decoded.pending
}

function beginsAsExpected(schema: AvroSchema): boolean {
  const { fields } = parseRecordSchema(schema)
  return LEADING.every((text, at) => {
    const field = fields[at]
    return field?.type.kind === 'primitive' && `${field.name} ${field.type.type}` === text
  })
}

/** The schema without the other fields: what it reads is never made. */
function onlyFields(schema: AvroSchema, names: readonly string[]): AvroSchema {
  const fields = schema['fields'] as readonly { readonly name: string }[]
  return { ...schema, fields: fields.filter(({ name }) => names.includes(name)) }
}
