import { isUtf8 } from 'node:buffer'
import { AvroCursor, avroString, MAX_LONG_BYTES, writeLong } from '../infra/runtime/avro/avro-bytes.ts'
import { WIRE_HEADER_BYTES, writeWireHeader } from '../infra/runtime/avro/wire-format.ts'
import type { ColumnBatch } from '../infra/runtime/kafka/consumer/column-batch.ts'
import { copyBytes, type VectorColumns, type VectorFormat, vectorSubject } from '../infra/runtime/vectors.ts'
import { parseRecordSchema } from '../schemas/pipeline/avro-schema.ts'
import type { AvroSchema } from '../schemas/pipeline/compiled.ts'

/** The fields of schemas/avro/feature-vector.avsc, which is what this reads and nothing else. */
const LAYOUT = [
  'event_id string, tenant string, segment string, event_time long, ingested_at long, event_schema_id int',
  'origin_generation string, origin_offset long, source_generation string, source_offset long',
  'feature_set string, features array float, degraded boolean, traceparent union null string',
].join(', ')

/** Whether values of this schema have the layout that is read here. */
export function isVectorLayout(schema: AvroSchema): boolean {
  const fields = parseRecordSchema(schema).fields.map(({ name, type }) => `${name} ${typeText(type)}`)
  return fields.join(', ') === LAYOUT
}

function typeText(type: ReturnType<typeof parseRecordSchema>['fields'][number]['type']): string {
  if (type.kind === 'primitive') return type.type
  if (type.kind === 'array') return `array ${typeText(type.items)}`
  return type.kind === 'union' ? `union ${type.branches.map(typeText).join(' ')}` : type.kind
}

/** Where the parts of each vector lie. */
export interface VectorPlaces {
  /** The feature set of all vectors of the batch. */
  readonly featureSet: string
  readonly width: number
  /** Of source_generation, and of feature_set behind source_offset. */
  readonly sourceStarts: Int32Array
  readonly setStarts: Int32Array
  /** Of the first float. */
  readonly floatStarts: Int32Array
}

const FLOAT_BYTES = 4
const cursor = new AvroCursor()

/**
 * Finds the parts of the vectors of a batch, values of `isVectorLayout`. Null when one is not as our own encoding makes it,
 * or they are of several feature sets: then they have to be read one by one.
 */
export function findVectors({ values, length }: ColumnBatch): VectorPlaces | null {
  const { bytes, starts, lengths } = values
  const sourceStarts = new Int32Array(length)
  const setStarts = new Int32Array(length)
  const floatStarts = new Int32Array(length)
  let first: { readonly set: Buffer; readonly width: number } | null = null
  cursor.bytes = bytes
  for (let row = 0; row < length; row++) {
    const start = starts[row] as number
    cursor.at = start + WIRE_HEADER_BYTES
    cursor.end = start + (lengths[row] as number)
    if (!(passText() && passText() && passText() && passLongs(3) && passText() && passLongs(1))) return null
    sourceStarts[row] = cursor.at
    if (!(passText() && passLongs(1))) return null
    const setStart = cursor.at
    setStarts[row] = setStart
    if (!passText()) return null
    const setEnd = cursor.at
    const width = cursor.long()
    if (!(width > 0 && width * FLOAT_BYTES <= cursor.end - cursor.at)) return null
    first ??= { set: bytes.subarray(setStart, setEnd), width }
    if (width !== first.width || !isSame(bytes, setStart, setEnd, first.set)) return null
    floatStarts[row] = cursor.at
    cursor.at += width * FLOAT_BYTES
    if (!(passByte(0, 0) && passByte(0, 1) && passTrace() && cursor.at === cursor.end)) return null
  }
  if (first === null) return null
  return { featureSet: textOf(first.set), width: first.width, sourceStarts, setStarts, floatStarts }
}

/** The vectors as the beginnings of predictions: with the coordinates of their own records as source. */
export function readVectors(batch: ColumnBatch, places: VectorPlaces, format: VectorFormat): VectorColumns {
  const { length, values } = batch
  const { width, sourceStarts, setStarts, floatStarts } = places
  const { bytes } = values
  const header = Buffer.alloc(WIRE_HEADER_BYTES)
  writeWireHeader(header, format.schemaId)
  const generation = avroString(batch.generation)
  let size = length * (generation.length + MAX_LONG_BYTES + format.room)
  for (let row = 0; row < length; row++) size += values.lengths[row] as number

  const target = Buffer.allocUnsafe(size)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const features = new Float32Array(length * width)
  const starts = new Int32Array(length)
  const lengths = new Int32Array(length)
  const sources = new Int32Array(length)
  let at = 0
  for (let row = 0; row < length; row++) {
    const start = (values.starts[row] as number) + WIRE_HEADER_BYTES
    const sourceStart = sourceStarts[row] as number
    const setStart = setStarts[row] as number
    const end = (values.starts[row] as number) + (values.lengths[row] as number)
    sources[row] = row
    starts[row] = at
    at = copyBytes(target, at, header, 0, WIRE_HEADER_BYTES)
    at = copyBytes(target, at, bytes, start, sourceStart - start)
    at = copyBytes(target, at, generation, 0, generation.length)
    at = writeLong(target, at, batch.offsets[row] as number)
    at = copyBytes(target, at, bytes, setStart, end - setStart)
    lengths[row] = at - (starts[row] as number)
    at += format.room
    for (let column = 0, from = floatStarts[row] as number; column < width; column++, from += FLOAT_BYTES) {
      features[row * width + column] = view.getFloat32(from, true)
    }
  }
  const written = { bytes: target, starts, lengths }
  const subjectOf = (row: number) => vectorSubject(written, row)
  return { length, sources, keys: batch.keys, values: written, features, width, subjectOf, releaseFeatures: () => {} }
}

function passText(): boolean {
  const length = cursor.length()
  const { bytes, at } = cursor
  if (!cursor.pass(length)) return false
  let bits = 0
  for (let byte = at; byte < cursor.at; byte++) bits |= bytes[byte] as number
  return bits < 0x80 || isUtf8(bytes.subarray(at, cursor.at))
}

function passLongs(count: number): boolean {
  for (let left = count; left > 0; left--) if (Number.isNaN(cursor.long())) return false
  return true
}

function passByte(low: number, high: number): boolean {
  const { bytes, at } = cursor
  const byte = bytes[at] as number
  return cursor.pass(1) && byte >= low && byte <= high
}

function passTrace(): boolean {
  const index = cursor.long()
  return index === 0 || (index === 1 && passText())
}

function isSame(bytes: Buffer, start: number, end: number, other: Buffer): boolean {
  if (end - start !== other.length) return false
  for (let at = 0; at < other.length; at++) if (bytes[start + at] !== other[at]) return false
  return true
}

/** Of a string behind its length. */
function textOf(encoded: Buffer): string {
  cursor.bytes = encoded
  cursor.at = 0
  cursor.end = encoded.length
  const length = cursor.length()
  return encoded.toString('utf8', cursor.at, cursor.at + length)
}
