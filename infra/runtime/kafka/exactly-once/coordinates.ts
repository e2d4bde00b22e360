import { WIRE_HEADER_BYTES, wireSchemaId } from '../../avro/wire-format.ts'
import { UnreadableError } from '../record-batches/errors.ts'
import { VarintReader } from '../record-batches/varint.ts'
import type { Coordinates } from './lane-writer.ts'

/*
 * FeatureVector and Prediction begin alike. After the five bytes of the Confluent wire format, in Avro (string: length varlong,
 * UTF-8; int and long: zigzag varint):
 *
 *   event_id, tenant, segment: string, event_time, ingested_at: long, event_schema_id: int,
 *   origin_generation: string, origin_offset: long, source_generation: string, source_offset: long
 */
const STRINGS_BEFORE = 3
const NUMBERS_BEFORE = 3
const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/

/** Coordinates of an encoded FeatureVector or Prediction, read without its schema; null when it does not begin like one. */
export function readCoordinates(value: Buffer): Coordinates | null {
  if (wireSchemaId(value) === null) return null
  const reader = new VarintReader(value, WIRE_HEADER_BYTES)
  try {
    for (let left = STRINGS_BEFORE; left > 0; left--) passString(reader)
    for (let left = NUMBERS_BEFORE; left > 0; left--) reader.varlong()
    const originGeneration = generation(reader)
    const originOffset = offset(reader)
    const sourceGeneration = generation(reader)
    const sourceOffset = offset(reader)
    if (originGeneration === null || originOffset === null || sourceGeneration === null || sourceOffset === null) {
      return null
    }
    return { originGeneration, originOffset, sourceGeneration, sourceOffset }
  } catch (error) {
    if (error instanceof UnreadableError) return null
    throw error
  }
}

function passString(reader: VarintReader): { readonly start: number; readonly end: number } | null {
  const length = reader.varlong()
  const start = reader.at
  if (length < 0 || length > reader.bytes.length - start) throw new UnreadableError('corrupt_records', 'a string')
  reader.at += length
  return { start, end: reader.at }
}

function generation(reader: VarintReader): string | null {
  const string = passString(reader)
  const text = string === null ? '' : reader.bytes.toString('latin1', string.start, string.end)
  return UUID.test(text) ? text : null
}

function offset(reader: VarintReader): number | null {
  const value = reader.varlong()
  return reader.at <= reader.bytes.length && value >= 0 ? value : null
}
