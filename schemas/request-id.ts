/**
 * A request id is an event's coordinates in the events topic, known as soon as Kafka has acknowledged the event:
 *
 *   <pipeline>.<yyyymmdd>.<partition>.<offset>        e.g. flights.20130315.3.18211
 *
 * The day is that of the append time (UTC), so that a store partitioned by day finds the answer without a scan.
 */
export interface RequestId {
  readonly pipeline: string
  /** Start of the day of ingestion, epoch ms (UTC). */
  readonly dayMs: number
  readonly partition: number
  readonly offset: number
}

const PATTERN = /^([a-z][a-z0-9-]*)\.(\d{4})(\d{2})(\d{2})\.(\d{1,9})\.(\d{1,16})$/

export function formatRequestId(pipeline: string, ingestedAtMs: number, partition: number, offset: number): string {
  return `${pipeline}.${dayText(Math.floor(ingestedAtMs / DAY_MS))}.${partition}.${offset}`
}

const DAY_MS = 86_400_000
let last = { day: 0, text: '19700101' }

/** Almost always that of the time before. */
function dayText(day: number): string {
  if (day !== last.day) {
    last = { day, text: new Date(day * DAY_MS).toISOString().slice(0, 10).replaceAll('-', '') }
  }
  return last.text
}

/** Null when the text is not a request id. */
export function parseRequestId(text: string): RequestId | null {
  const match = PATTERN.exec(text)
  if (match === null) return null
  const [, pipeline = '', year, month, day, partition, offset] = match
  const dayMs = Date.UTC(Number(year), Number(month) - 1, Number(day))
  const id = { pipeline, dayMs, partition: Number(partition), offset: Number(offset) }
  const exact = Number.isSafeInteger(id.offset) && formatRequestId(pipeline, dayMs, id.partition, id.offset) === text
  return exact ? id : null
}
