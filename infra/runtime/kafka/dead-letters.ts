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

/** The dead letter of one record: its original bytes, where it was, and why it ended. Keyed like the record. */
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
  const letter: DeadLetter = {
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
  }
  return { key: batch.key(index), value: encoding.type.encode(encoding.schemaId, letter) }
}

function headersOf(batch: RecordBatch, index: number): Record<string, Buffer> {
  const headers: Record<string, Buffer> = Object.create(null)
  for (const name of batch.headerNames(index)) headers[name] = batch.header(index, name) ?? Buffer.alloc(0)
  return headers
}
