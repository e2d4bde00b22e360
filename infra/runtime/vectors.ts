import { AvroCursor, writeLong } from './avro/avro-bytes.ts'
import type { EmittedColumns, Subject } from './kafka/outcome.ts'
import type { Slices } from './kafka/record-batches/columns.ts'

/** Feature vectors in columns, ready to be written or to be made into something longer. */
export interface VectorColumns extends EmittedColumns {
  /** Each in the wire format: a FeatureVector's fields, behind which `VectorFormat.room` bytes are free. */
  readonly values: Slices
  /** [length, width] float32, row by row; NaN = missing. Not to be used after `releaseFeatures`. */
  readonly features: Float32Array
  readonly width: number
  /** The features are not needed any more: their memory serves others. */
  releaseFeatures(): void
}

export interface VectorFormat {
  /** For the wire format's header. */
  readonly schemaId: number
  readonly room: number
}

const FIRST_FIELD = 5
const cursor = new AvroCursor()

/** Whose vector it is, read from the value: the fields up to the origin's coordinates. */
export function vectorSubject(values: Slices, row: number): Subject {
  cursor.bytes = values.bytes
  cursor.at = (values.starts[row] as number) + FIRST_FIELD
  cursor.end = (values.starts[row] as number) + (values.lengths[row] as number)
  const eventId = text()
  const tenant = text()
  // segment, event_time, ingested_at, event_schema_id
  text()
  for (let left = 3; left > 0; left--) cursor.passLong()
  return { tenant, eventId, origin: { generation: text(), offset: cursor.long() } }
}

/** When Kafka appended the event of a vector, epoch ms. */
export function ingestedAt(values: Slices, row: number): number {
  cursor.bytes = values.bytes
  cursor.at = (values.starts[row] as number) + FIRST_FIELD
  cursor.end = (values.starts[row] as number) + (values.lengths[row] as number)
  // event_id, tenant, segment, event_time
  for (let left = 3; left > 0; left--) cursor.pass(cursor.length())
  cursor.passLong()
  return cursor.long()
}

/** The bytes of a vector's event id, as [from, to) of `values.bytes`. */
export function eventIdPlace(values: Slices, row: number): readonly [from: number, to: number] {
  cursor.bytes = values.bytes
  cursor.at = (values.starts[row] as number) + FIRST_FIELD
  cursor.end = (values.starts[row] as number) + (values.lengths[row] as number)
  const length = cursor.length()
  return [cursor.at, cursor.at + length]
}

function text(): string {
  const length = cursor.length()
  const from = cursor.at
  cursor.at += length
  return cursor.bytes.toString('utf8', from, cursor.at)
}

/** Shorter strings are copied byte by byte, which is faster than a call. */
const SHORT_BYTES = 32

/** Copies bytes; the position after them. */
export function copyBytes(target: Buffer, at: number, source: Buffer, start: number, length: number): number {
  if (length > SHORT_BYTES) source.copy(target, at, start, start + length)
  else for (let byte = 0; byte < length; byte++) target[at + byte] = source[start + byte] as number
  return at + length
}

/** A string whose bytes are at hand. */
export function copyString(target: Buffer, at: number, source: Buffer, start: number, length: number): number {
  return copyBytes(target, writeLong(target, at, length), source, start, length)
}
