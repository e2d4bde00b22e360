import { stat } from 'node:fs/promises'
import { readAvroFile } from '../../runtime/avro/avro-type.ts'
import { fatal } from '../../runtime/errors.ts'

export type DataRecord = Readonly<Record<string, unknown>>

export interface TimedRecord {
  /** Epoch ms. */
  readonly time: number
  readonly record: DataRecord
}

/** Reads records in the order of their time, one ahead. */
export interface TimedRecords {
  /** The next record; null at the end. */
  readonly head: TimedRecord | null
  /** Takes the head off. */
  advance(): Promise<void>
  /** Takes off what is before the time. */
  skipTo(time: number): Promise<void>
  close(): Promise<void>
}

export type RecordReader = AsyncIterator<unknown, unknown, undefined>

/** Opens an Avro container file whose records lie in the order of `timeField`; its first record is the head. */
export async function openTimedFile(file: string, timeField: string): Promise<TimedRecords> {
  try {
    await stat(file)
  } catch (error) {
    throw fatal('no_data', `${file} cannot be read: ${(error as Error).message}`, error)
  }
  return await openTimedRecords(readAvroFile(file), file, timeField)
}

/** Rejects with `unordered_data` (crash) when it comes to a record that is out of order. `name` is used in messages. */
export async function openTimedRecords(reader: RecordReader, name: string, timeField: string): Promise<TimedRecords> {
  let head: TimedRecord | null = null
  let count = 0

  async function advance(): Promise<void> {
    const { done, value } = await reader.next()
    if (done === true) {
      head = null
      return
    }
    count++
    const record = value as DataRecord
    const time = record[timeField]
    if (typeof time !== 'number') throw fatal('unordered_data', `record ${count} of ${name} has no ${timeField}`)
    if (head !== null && time < head.time) {
      throw fatal('unordered_data', `${name} is not in the order of ${timeField}: record ${count} is before the last`)
    }
    head = { time, record }
  }

  await advance()
  return {
    get head() {
      return head
    },
    advance,
    async skipTo(time) {
      while (head !== null && head.time < time) await advance()
    },
    async close() {
      await reader.return?.()
    },
  }
}
