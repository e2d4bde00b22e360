import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import type { RecordColumns } from '../../infra/runtime/kafka/record-batches/columns.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { columnsOf, type PlainRecord } from './record-columns.ts'

export interface LoggedRecord extends Partial<PlainRecord> {
  readonly offset: number
}

/** Topics that are read from memory: partition by `<topic>/<partition>`, begin at the first record's offset unless `start` says so. */
export function memoryLog(
  logs: ReadonlyMap<string, readonly LoggedRecord[]>,
  start: (log: string) => number = () => 0,
): LogReader {
  const range = (topic: string, partition: number) => {
    const last = logs.get(`${topic}/${partition}`)?.at(-1)
    return { start: start(`${topic}/${partition}`), end: last === undefined ? 0 : last.offset + 1 }
  }
  return {
    range: async (topic, partition) => range(topic, partition),
    async *read(topic, partition, from, to) {
      const records = (logs.get(`${topic}/${partition}`) ?? []).filter(({ offset }) => offset >= from && offset < to)
      if (records.length > 0) yield recordSetOf(records)
    },
    waitForEnd: async (topic, partition) => range(topic, partition),
  }
}

/** The records as a fetch would bring them. */
export function recordSetOf(records: readonly LoggedRecord[]): RecordSet {
  const columns: RecordColumns = columnsOf(
    records.map(({ timestamp = 0, key = null, value = null, headers = [] }) => ({ timestamp, key, value, headers })),
  )
  const { timestamps, headers } = columns
  if (typeof timestamps === 'number' || headers === null) throw new Error('columnsOf makes columns of both')
  return {
    ...columns,
    timestamps,
    headers,
    offsets: Float64Array.from(records, ({ offset }) => offset),
    markers: [],
    nextOffset: (records.at(-1)?.offset ?? -1) + 1,
  }
}
