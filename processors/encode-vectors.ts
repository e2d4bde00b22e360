import { isUtf8 } from 'node:buffer'
import { avroString, MAX_LONG_BYTES, writeLong } from '../infra/runtime/avro/avro-bytes.ts'
import { WIRE_HEADER_BYTES, writeWireHeader } from '../infra/runtime/avro/wire-format.ts'
import type { ColumnBatch } from '../infra/runtime/kafka/consumer/column-batch.ts'
import { copyBytes, copyString, type VectorFormat } from '../infra/runtime/vectors.ts'
import type { FeatureSet } from '../schemas/pipeline/compiled.ts'
import type { DecodedRows } from './compile/decoded-rows.ts'

/** What a row says beside what was decoded from its value. */
export interface RowFacts {
  readonly schemaIds: Int32Array
  /** Null = the one that is fixed for all. */
  readonly tenants: readonly string[] | null
  /** Null = no row has one. */
  readonly traceparents: readonly (string | null)[] | null
}

/**
 * Writes FeatureVectors (schemas/avro/feature-vector.avsc), as the Avro library would, into one buffer:
 *
 *   wire header, event_id, tenant, segment: strings
 *   event_time, ingested_at: longs, event_schema_id: int
 *   origin_generation: string, origin_offset: long, source_generation: string, source_offset: long
 *   feature_set: string, features: count, little-endian floats, 0
 *   degraded: boolean, traceparent: union index, string
 */
export interface VectorEncoder {
  /** Most bytes that a row may take, with the room behind it. */
  rowBytes(rows: DecodedRows, facts: RowFacts, row: number): number
  /** Writes a row; the position after it. The feature values are those of row `featuresRow`. */
  write(target: Buffer, at: number, rows: DecodedRows, facts: RowFacts, row: number): number
}

const FLOAT_BYTES = 4
const TRACEPARENT_BYTES = 55

export function createVectorEncoder(
  batch: ColumnBatch,
  featureSet: FeatureSet,
  fixedTenant: string | null,
  format: VectorFormat,
): VectorEncoder {
  const { bytes } = batch.values
  const width = featureSet.features.length
  const header = Buffer.alloc(WIRE_HEADER_BYTES)
  writeWireHeader(header, format.schemaId)
  const tenant = fixedTenant === null ? null : avroString(fixedTenant)
  const generation = avroString(batch.generation)
  const setAndCount = Buffer.concat([avroString(featureSet.digest), longBytes(width)])
  const fixedBytes =
    header.length +
    (tenant?.length ?? 0) +
    2 * generation.length +
    setAndCount.length +
    width * FLOAT_BYTES +
    8 * MAX_LONG_BYTES +
    3 +
    format.room
  let view: DataView = new DataView(new ArrayBuffer(0))
  let viewed: Buffer | null = null
  /** Where the last row's fields from ingested_at to the count of the features lie, and what they hold. */
  const block = { start: 0, length: 0, ingestedAt: Number.NaN, schemaId: 0, origin: 0, source: 0, offsetBytes: 0 }

  /** Those fields are the same in almost every row, but for its offset. */
  function writeBlock(target: Buffer, start: number, ingestedAt: number, schemaId: number, offset: number): number {
    if (ingestedAt === block.ingestedAt && schemaId === block.schemaId) {
      target.copyWithin(start, block.start, block.start + block.length)
      const origin = start + block.origin
      if (writeLong(target, origin, offset) - origin === block.offsetBytes) {
        writeLong(target, start + block.source, offset)
        return start + block.length
      }
    }
    let at = writeLong(target, start, ingestedAt)
    at = writeLong(target, at, schemaId)
    at = copyBytes(target, at, generation, 0, generation.length)
    const origin = at
    at = writeLong(target, at, offset)
    const offsetBytes = at - origin
    at = copyBytes(target, at, generation, 0, generation.length)
    const source = at
    at = writeLong(target, at, offset)
    at = copyBytes(target, at, setAndCount, 0, setAndCount.length)
    Object.assign(block, { start, length: at - start, ingestedAt, schemaId, offsetBytes })
    block.origin = origin - start
    block.source = source - start
    return at
  }

  function textOrSlice(target: Buffer, at: number, text: string | undefined, start: number, length: number): number {
    if (start >= 0) return copyString(target, at, bytes, start, length)
    const encoded = avroString(text ?? '')
    return copyBytes(target, at, encoded, 0, encoded.length)
  }

  return {
    rowBytes(rows, { tenants, traceparents }, row) {
      const segment =
        (rows.segmentStarts[row] as number) < 0
          ? Buffer.byteLength(rows.segmentTexts[row] ?? '')
          : (rows.segmentLengths[row] as number)
      const owner = tenants === null ? 0 : Buffer.byteLength(tenants[row] ?? '')
      return (
        fixedBytes +
        (rows.idLengths[row] as number) +
        segment +
        owner +
        (traceparents === null ? 0 : TRACEPARENT_BYTES + MAX_LONG_BYTES)
      )
    },

    write(target, start, rows, { schemaIds, tenants, traceparents }, row) {
      if (viewed !== target) {
        viewed = target
        view = new DataView(target.buffer, target.byteOffset, target.length)
        block.ingestedAt = Number.NaN
      }
      let at = copyBytes(target, start, header, 0, WIRE_HEADER_BYTES)
      at = copyString(target, at, bytes, rows.idStarts[row] as number, rows.idLengths[row] as number)
      at =
        tenant !== null
          ? copyBytes(target, at, tenant, 0, tenant.length)
          : textOrSlice(target, at, tenants?.[row], -1, 0)
      at = textOrSlice(
        target,
        at,
        rows.segmentTexts[row],
        rows.segmentStarts[row] as number,
        rows.segmentLengths[row] as number,
      )
      at = writeLong(target, at, rows.times[row] as number)
      at = writeBlock(
        target,
        at,
        batch.timestamps[row] as number,
        schemaIds[row] as number,
        batch.offsets[row] as number,
      )
      const { features } = rows
      for (let from = row * width, end = from + width; from < end; from++) {
        view.setFloat32(at, features[from] as number, true)
        at += FLOAT_BYTES
      }
      target[at++] = 0
      target[at++] = rows.degraded[row] as number
      const trace = traceparents === null ? null : (traceparents[row] ?? null)
      if (trace === null) {
        target[at++] = 0
        return at
      }
      target[at++] = 2
      return textOrSlice(target, at, trace, -1, 0)
    },
  }
}

/** Whether the row's strings are texts: what is not would be written otherwise by the readable path. */
export function hasTexts(bytes: Buffer, rows: DecodedRows, row: number): boolean {
  return (
    isText(bytes, rows.idStarts[row] as number, rows.idLengths[row] as number) &&
    isText(bytes, rows.segmentStarts[row] as number, rows.segmentLengths[row] as number)
  )
}

function isText(bytes: Buffer, start: number, length: number): boolean {
  if (start < 0) return true
  let bits = 0
  for (let at = start, end = start + length; at < end; at++) bits |= bytes[at] as number
  return bits < 0x80 || isUtf8(bytes.subarray(start, start + length))
}

function longBytes(value: number): Buffer {
  const target = Buffer.alloc(MAX_LONG_BYTES)
  return target.subarray(0, writeLong(target, 0, value))
}
