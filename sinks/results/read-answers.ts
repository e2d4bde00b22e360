import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { type AnswerEntries, createAnswerEntries, rejectionOf } from './answer-entries.ts'

/** What one batch comes to. */
export interface ReadAnswers {
  /** Each for one call: Redis does nothing else meanwhile. */
  readonly blocks: readonly Buffer[]
  readonly answers: number
  /** Records that are no answer, or one that would be gone by now. */
  readonly passed: number
}

/** The answers in records that were appended after `since`, epoch ms. Rejects with `retry` while a schema cannot be fetched. */
export type AnswerReader = (batch: ColumnBatch, since: number) => Promise<ReadAnswers>

const ENTRIES_PER_BLOCK = 500
const BYTES_PER_BLOCK = 1_048_576

export const predictionAnswers: AnswerReader = async (batch, since) => collect(batch, since, predictionInto)

function predictionInto(entries: AnswerEntries, batch: ColumnBatch, row: number): boolean {
  return entries.addPrediction(batch, row)
}

/** What is no dead letter, or cannot be decoded yet, is passed over: it is in ClickHouse all the same. */
export function rejectionAnswers(reader: AvroReader<DeadLetter>): AnswerReader {
  return async (batch, since) => {
    await reader.prepare(Array.from({ length: batch.length }, (_, row) => batch.value(row)))
    return collect(batch, since, (entries, _, row) => {
      const decoded = reader.decode(batch.value(row))
      const rejection = decoded.ok ? rejectionOf(decoded.record) : null
      if (!decoded.ok || rejection === null) return false
      // a letter is in the lane of its event
      entries.addRejection(decoded.record.partition, decoded.record.origin_offset, rejection)
      return true
    })
  }
}

function collect(
  batch: ColumnBatch,
  since: number,
  add: (entries: AnswerEntries, batch: ColumnBatch, row: number) => boolean,
): ReadAnswers {
  const entries = createAnswerEntries()
  const blocks: Buffer[] = []
  let passed = 0
  for (let row = 0; row < batch.length; row++) {
    if ((batch.timestamps[row] as number) < since || !add(entries, batch, row)) passed++
    if (entries.count >= ENTRIES_PER_BLOCK || entries.bytes >= BYTES_PER_BLOCK) blocks.push(entries.take())
  }
  if (entries.count > 0) blocks.push(entries.take())
  return { blocks, answers: batch.length - passed, passed }
}
