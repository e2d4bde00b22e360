import type { DeadLetter } from '../../../schemas/generated/records.ts'
import type { AvroType } from '../avro/avro-type.ts'
import { wireSchemaId } from '../avro/wire-format.ts'
import type { Clock } from '../clock.ts'
import type { Rejection } from './outcome.ts'
import type { RecordBatch } from './record-batch.ts'
import type { OutgoingRecord } from './record-writer.ts'

export interface DeadLetterEncoding {
  readonly stage: string
  readonly pipeline: string
  readonly type: AvroType
  readonly schemaId: number
  readonly replayOfHeader: string
  readonly clock: Clock
}

/** Our dead letter topics take batches of 2 MiB; a record that a foreign topic took may be larger. */
const MAX_LETTER_BYTES = 1_900_000
/** What is left of the rest of a letter when it is too large: bytes of key and headers, characters of text. */
const MAX_KEY_BYTES = 100_000
const MAX_HEADERS_BYTES = 400_000
const MAX_MESSAGE = 10_000
const MAX_NAME = 1_000
/** Of the fields with a bounded size, and the lengths of the others. */
const FIXED_BYTES = 2_000

/**
 * The dead letter of one record: its original bytes, where it was, and why it ended. Keyed like the record. Never larger than
 * the topic takes: of a larger record it holds the beginning, and says so.
 */
export function encodeDeadLetter(
  encoding: DeadLetterEncoding,
  batch: RecordBatch,
  index: number,
  rejection: Rejection,
  attempts: number,
): OutgoingRecord {
  const value = batch.value(index)
  const origin =
    rejection.origin === undefined
      ? { generation: batch.generation, offset: batch.offset(index) }
      : (rejection.origin ?? { generation: '', offset: -1 })
  const letter = fitting({
    stage: encoding.stage,
    pipeline: encoding.pipeline,
    reason: rejection.reason,
    kind: rejection.kind,
    message: rejection.message,
    tenant: rejection.tenant ?? '',
    event_id: rejection.eventId ?? null,
    topic: batch.topic,
    partition: batch.partition,
    source_generation: batch.generation,
    source_offset: batch.offset(index),
    origin_generation: origin.generation,
    origin_offset: origin.offset,
    schema_id: value === null ? null : wireSchemaId(value),
    key: batch.key(index),
    value: value === null || rejection.kind === 'filtered' ? Buffer.alloc(0) : value,
    headers: headersOf(batch, index),
    attempts,
    failed_at: encoding.clock.now(),
    replay_of: batch.header(index, encoding.replayOfHeader)?.toString() ?? null,
    original_bytes: null,
  })
  return { key: letter.key, value: encoding.type.encode(encoding.schemaId, letter) }
}

/** Stands for records [from, to) of a partition, which were deleted before anything could become of them. */
export function encodeLostRange(
  encoding: DeadLetterEncoding,
  input: { readonly topic: string; readonly generation: string },
  range: { readonly partition: number; readonly from: number; readonly to: number },
): OutgoingRecord {
  const letter: DeadLetter = {
    stage: encoding.stage,
    pipeline: encoding.pipeline,
    reason: 'retention_lost',
    kind: 'retention_lost',
    message: `offsets ${range.from} to ${range.to - 1} were deleted before they were read`,
    tenant: '',
    event_id: null,
    topic: input.topic,
    partition: range.partition,
    source_generation: input.generation,
    source_offset: range.from,
    origin_generation: '',
    origin_offset: -1,
    schema_id: null,
    key: null,
    value: Buffer.alloc(0),
    headers: {},
    attempts: 1,
    failed_at: encoding.clock.now(),
    replay_of: null,
    original_bytes: null,
  }
  return { key: null, value: encoding.type.encode(encoding.schemaId, letter) }
}

function fitting(letter: DeadLetter): DeadLetter {
  const original = (letter.key?.length ?? 0) + letter.value.length + headersBytes(letter.headers)
  if (original + besides(letter) <= MAX_LETTER_BYTES) return letter
  const headers: Record<string, Buffer> = Object.create(null)
  let room = MAX_HEADERS_BYTES
  for (const [name, value] of Object.entries(letter.headers)) {
    room -= headerBytes(name, value)
    if (room < 0) break
    headers[name] = value
  }
  const cut = {
    ...letter,
    message: letter.message.slice(0, MAX_MESSAGE),
    tenant: letter.tenant.slice(0, MAX_NAME),
    event_id: (letter.event_id?.length ?? 0) > MAX_NAME ? null : letter.event_id,
    replay_of: (letter.replay_of?.length ?? 0) > MAX_NAME ? null : letter.replay_of,
    key: letter.key?.subarray(0, MAX_KEY_BYTES) ?? null,
    headers,
    original_bytes: original,
  }
  const rest = besides(cut) + (cut.key?.length ?? 0) + headersBytes(headers)
  return { ...cut, value: letter.value.subarray(0, MAX_LETTER_BYTES - rest) }
}

/** What a letter takes beside key, value and headers; it is keyed with the key once more. */
function besides({ key, message, tenant, event_id, replay_of }: DeadLetter): number {
  const texts = [message, tenant, event_id ?? '', replay_of ?? '']
  return FIXED_BYTES + (key?.length ?? 0) + texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
}

function headersBytes(headers: DeadLetter['headers']): number {
  return Object.entries(headers).reduce((sum, [name, value]) => sum + headerBytes(name, value), 0)
}

function headerBytes(name: string, value: Buffer): number {
  return 2 * 5 + Buffer.byteLength(name) + value.length
}

function headersOf(batch: RecordBatch, index: number): Record<string, Buffer> {
  const headers: Record<string, Buffer> = Object.create(null)
  for (const name of batch.headerNames(index)) headers[name] = batch.header(index, name) ?? Buffer.alloc(0)
  return headers
}
