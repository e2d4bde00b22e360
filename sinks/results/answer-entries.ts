import { AvroCursor } from '../../infra/runtime/avro/avro-bytes.ts'
import { WIRE_HEADER_BYTES } from '../../infra/runtime/avro/wire-format.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import { copyBytes } from '../../infra/runtime/vectors.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { coordinatesText } from '../../schemas/redis-keys.ts'
import { DUPLICATE, ENDING_KINDS, type StoredRejection } from '../../schemas/stored-answer.ts'

/*
 * Answers on their way to Redis, one behind the other (store-answers.ts has the reader):
 *
 *   uint8   length, and so many bytes: the event's coordinates as in its key
 *   uint32  length, and so many bytes: "<tenant>/<event id>"; length 0 = it cannot be asked for by its id
 *   uint32  length, and so many bytes: the answer
 *
 * Numbers are big-endian.
 */

/** Lengths and coordinates. */
const ROOM = 1 + 32 + 4 + 4
const SLASH = 0x2f

/** Entries in one buffer that grows; `take` hands out what there is and begins anew. */
export interface AnswerEntries {
  /** An answer's bytes are those of the record. False when it is no prediction. */
  addPrediction(batch: ColumnBatch, row: number): boolean
  addRejection(partition: number, offset: number, rejection: StoredRejection): void
  readonly count: number
  readonly bytes: number
  take(): Buffer
}

const FIRST_BYTES = 16_384
const cursor = new AvroCursor()

export function createAnswerEntries(): AnswerEntries {
  let target = Buffer.allocUnsafe(FIRST_BYTES)
  let end = 0
  let count = 0

  function reserve(bytes: number): void {
    if (end + bytes <= target.length) return
    const larger = Buffer.allocUnsafe(Math.max(end + bytes, target.length * 2))
    target.copy(larger, 0, 0, end)
    target = larger
  }

  function addCoordinates(partition: number, offset: number): void {
    const length = target.write(coordinatesText(partition, offset), end + 1, 'latin1')
    target[end] = length
    end += 1 + length
  }

  return {
    addPrediction({ partition, values }, row) {
      const { bytes } = values
      const start = values.starts[row] as number
      const length = values.lengths[row] as number
      if (length < WIRE_HEADER_BYTES || bytes[start] !== 0) return false
      // event_id, tenant, segment, event_time, ingested_at, event_schema_id, origin_generation, origin_offset: every version begins so
      cursor.bytes = bytes
      cursor.at = start + WIRE_HEADER_BYTES
      cursor.end = start + length
      const idLength = cursor.length()
      const id = cursor.at
      if (!cursor.pass(idLength)) return false
      const tenantLength = cursor.length()
      const tenant = cursor.at
      if (!(cursor.pass(tenantLength) && cursor.pass(cursor.length()))) return false
      if (!(cursor.passLong() && cursor.passLong() && cursor.passLong() && cursor.pass(cursor.length()))) return false
      const offset = cursor.long()
      if (!(offset >= 0)) return false
      reserve(ROOM + tenantLength + 1 + idLength + length)
      addCoordinates(partition, offset)
      end = target.writeUInt32BE(tenantLength + 1 + idLength, end)
      end = copyBytes(target, end, bytes, tenant, tenantLength)
      target[end++] = SLASH
      end = copyBytes(target, end, bytes, id, idLength)
      end = target.writeUInt32BE(length, end)
      end = copyBytes(target, end, bytes, start, length)
      count++
      return true
    },

    addRejection(partition, offset, rejection) {
      const { tenant, event_id, reason } = rejection
      // asked for by its id, a repetition would answer for itself
      const event = Buffer.from(event_id === null || reason === DUPLICATE ? '' : `${tenant}/${event_id}`)
      const value = Buffer.from(JSON.stringify(rejection))
      reserve(ROOM + event.length + value.length)
      addCoordinates(partition, offset)
      end = target.writeUInt32BE(event.length, end)
      end += event.copy(target, end)
      end = target.writeUInt32BE(value.length, end)
      end += value.copy(target, end)
      count++
    },

    get count() {
      return count
    },
    get bytes() {
      return end
    },
    take() {
      const taken = target.subarray(0, end)
      target = Buffer.allocUnsafe(FIRST_BYTES)
      end = 0
      count = 0
      return taken
    },
  }
}

/** Longer ones are cut: a letter's message may be as large as a record. */
const MAX_MESSAGE = 2_000

/** What a dead letter says to whoever sent the event; null when it ends none. */
export function rejectionOf(letter: DeadLetter): StoredRejection | null {
  const { kind, origin_generation: generation, origin_offset, tenant, event_id, reason, message, failed_at } = letter
  if (!ENDING_KINDS.has(kind) || generation === '' || origin_offset < 0) return null
  return { generation, tenant, event_id, reason, message: message.slice(0, MAX_MESSAGE), failed_at }
}
