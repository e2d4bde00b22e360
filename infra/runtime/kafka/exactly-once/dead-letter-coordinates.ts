import { WIRE_HEADER_BYTES, wireSchemaId } from '../../avro/wire-format.ts'
import { UnreadableError } from '../record-batches/errors.ts'
import { VarintReader } from '../record-batches/varint.ts'
import type { DeadLetterCoordinates } from './lane-tail.ts'

/*
 * DeadLetter begins, after the five bytes of the Confluent wire format, in Avro:
 *
 *   stage, pipeline, reason: string, kind: enum, message, tenant: string, event_id: ["null", "string"], topic: string,
 *   partition: int, source_generation: string, source_offset: long, origin_generation: string, origin_offset: long
 */
const KINDS = ['rejected', 'filtered', 'unstored', 'retention_lost'] as const
/** Of these the event itself has ended; a prediction that was not stored and a range that retention took leave it as it is. */
const ENDS_EVENT: ReadonlySet<string | undefined> = new Set(['rejected', 'filtered'])

/** Coordinates of an encoded DeadLetter, read without its schema; null when it does not begin like one. */
export function readDeadLetterCoordinates(value: Buffer): DeadLetterCoordinates | null {
  if (wireSchemaId(value) === null) return null
  const reader = new VarintReader(value, WIRE_HEADER_BYTES)
  try {
    const stage = text(reader)
    text(reader)
    text(reader)
    const kind = KINDS[reader.varlong()]
    text(reader)
    text(reader)
    const hasId = reader.varlong()
    if (hasId === 1) text(reader)
    const topic = text(reader)
    reader.varlong()
    const sourceGeneration = text(reader)
    const sourceOffset = reader.varlong()
    const originGeneration = text(reader)
    const originOffset = reader.varlong()
    if (kind === undefined || hasId < 0 || hasId > 1 || reader.at > value.length) return null
    const endsEvent = ENDS_EVENT.has(kind) && originOffset >= 0
    return { stage, topic, sourceGeneration, sourceOffset, originGeneration, originOffset, endsEvent }
  } catch (error) {
    if (error instanceof UnreadableError) return null
    throw error
  }
}

function text(reader: VarintReader): string {
  const length = reader.varlong()
  const start = reader.at
  if (length < 0 || length > reader.bytes.length - start) throw new UnreadableError('corrupt_records', 'a string')
  reader.at += length
  return reader.bytes.toString('utf8', start, reader.at)
}
