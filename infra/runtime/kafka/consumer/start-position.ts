import type { Clock } from '../../clock.ts'
import { fatal } from '../../errors.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import type { LogRange, LogReader } from '../log-reader.ts'
import { createPartitionLeader } from '../partition-leader.ts'
import { listOffsetsRequest } from '../protocol/list-offsets.ts'

/** Where a new group begins: the log's first record, its end, or the first record at or after a time (epoch ms). */
export type Start = 'earliest' | 'latest' | number

/** Retries while a leader is away, until `signal` aborts. */
export async function startPosition(
  { connections, clock, reader }: { connections: KafkaConnections; clock: Clock; reader: LogReader },
  topic: string,
  partition: number,
  start: Start,
  signal: AbortSignal,
): Promise<number> {
  if (typeof start === 'number') {
    const request = listOffsetsRequest(topic, [partition], start, 'read_committed')
    const found = await createPartitionLeader(connections, clock, topic, partition).ask(
      {
        ...request,
        decode: (payload) => {
          const [answer = { error: null, offset: -1 }] = request.decode(payload)
          return answer
        },
      },
      { signal },
    )
    if (found.offset >= 0) return found.offset
  }
  const range = await reader.range(topic, partition, 'read_committed')
  return start === 'earliest' ? range.start : range.end
}

/** Records that the log deleted before they were read. */
export interface LostRange {
  readonly partition: number
  readonly from: number
  /** The first offset that the log still has. */
  readonly to: number
}

/** Null when the log has the position (again). The caller decides about `lost`; it is never skipped silently. */
export function lostRange(partition: number, position: number, { start }: LogRange): LostRange | null {
  return position < start ? { partition, from: position, to: start } : null
}

export function retentionLost(group: string, topic: string, { partition, from, to }: LostRange): Error {
  const lost = `${topic}/${partition}: the log begins at ${to}; offsets ${from} to ${to - 1} were deleted before they were read`
  return fatal('retention_lost', `${lost}. ${resumeCommand(group, partition, to)}`)
}

export function positionLost(
  group: string,
  topic: string,
  partition: number,
  position: number,
  range: LogRange,
): Error {
  const lost = `${topic}/${partition}: the log ends at ${range.end}, below the position ${position}: records were lost, or the topic was emptied`
  return fatal('position_lost', `${lost}. ${resumeCommand(group, partition, range.end)}`)
}

function resumeCommand(group: string, partition: number, to: number): string {
  return `To go on there: millrace positions <pipeline folder> --group ${group} set --partition ${partition} --to ${to}`
}
