/** What the replay writes to standard output, one JSON object a line. Its log goes to standard error. */

/** Once a second, and once at the end. Everything counted here has been acknowledged by Kafka. */
export interface ReplayProgress {
  readonly sent: number
  readonly labels: number
  readonly rows: number
  /** Time of the last event handed to Kafka, on the data's clock, epoch ms; null before the first. */
  readonly eventTime: number | null
}

/** The last line of a replay that came to its end; one that was stopped or failed has none. */
export interface ReplayDone {
  readonly done: true
  readonly events: number
  /** Per partition of the events topic, from 0. */
  readonly perPartitionEvents: readonly number[]
  /** Label records written. */
  readonly labels: number
  /** Replayed events that have a label in the data; the others never get one. */
  readonly labelsExpected: number
  readonly tableRows: number
  /** Times of the first and last event, epoch ms. */
  readonly firstEventTime: number
  readonly lastEventTime: number
  /** From the first event to the last acknowledgement, ms. */
  readonly elapsedMs: number
}

export type ReplayLine = ReplayProgress | ReplayDone

/** Null for a line that is none of the replay's. */
export function parseReplayLine(line: string): ReplayLine | null {
  if (!line.startsWith('{')) return null
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return null
  }
  const isOurs = typeof value === 'object' && value !== null && ('sent' in value || 'done' in value)
  return isOurs ? (value as ReplayLine) : null
}
