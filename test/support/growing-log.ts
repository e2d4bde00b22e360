import { setImmediate as turn } from 'node:timers/promises'
import { fatal } from '../../infra/runtime/errors.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { type LoggedRecord, recordSetOf } from './memory-log.ts'

/** Partitions of one topic that grow while they are read, in sets of a few records. */
export interface GrowingLog {
  readonly reader: LogReader
  append(partition: number, record: Omit<LoggedRecord, 'offset'>): number
  /** Deletes what is below. */
  cut(partition: number, start: number): void
  /** Records that were handed out, by all readings. */
  readonly handedOut: number
}

export function growingLog(partitions: number, setSize: () => number = () => 3): GrowingLog {
  const logs = Array.from({ length: partitions }, (): LoggedRecord[] => [])
  const starts = new Map<number, number>()
  let handedOut = 0

  const logOf = (partition: number): LoggedRecord[] => {
    while (logs.length <= partition) logs.push([])
    return logs[partition] as LoggedRecord[]
  }
  const startOf = (partition: number): number => starts.get(partition) ?? 0
  const range = async (partition: number) => {
    await turn()
    return { start: startOf(partition), end: logOf(partition).length }
  }

  return {
    get handedOut() {
      return handedOut
    },
    append(partition, record) {
      const log = logOf(partition)
      log.push({ ...record, offset: log.length })
      return log.length - 1
    },
    cut(partition, start) {
      starts.set(partition, start)
    },
    reader: {
      range: async (_topic, partition) => await range(partition),
      async *read(topic, partition, from, to) {
        for (let position = from; position < to; ) {
          await turn()
          if (position < startOf(partition)) {
            throw fatal('position_lost', `${topic}/${partition} begins at ${startOf(partition)}, above ${position}`)
          }
          const records = logOf(partition).slice(position, Math.min(to, position + setSize()))
          if (records.length === 0) return
          handedOut += records.length
          position += records.length
          yield recordSetOf(records)
        }
      },
      waitForEnd: async (_topic, partition) => await range(partition),
    },
  }
}
