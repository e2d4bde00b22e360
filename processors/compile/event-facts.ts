import type { CompiledEvent } from '../../schemas/pipeline/compiled.ts'
import { type EventRecord, failed, type StepResult } from './step.ts'

/** What is said about an event beside its features. */
export interface EventFacts {
  readonly id: string
  /** Epoch ms. */
  readonly time: number
  /** Empty when the pipeline names no segment, or the event's is null. */
  readonly segment: string
}

/** Times outside [1970, 2100) are refused: such an event was stamped in another unit, and no store could place it. */
export const TIME_END_MS = Date.UTC(2100, 0, 1)

/** Reads id, time and segment; fails with `missing_id` or `invalid_time`. */
export function compileEventFacts(event: CompiledEvent): (record: EventRecord) => StepResult<EventFacts> {
  const { idField, timeField, segmentField } = event
  return (record) => {
    const id = eventId(event, record)
    if (id === null) return failed('missing_id', `${idField} is empty`)
    const time = record[timeField]
    if (typeof time !== 'number' || !Number.isInteger(time) || time < 0 || time >= TIME_END_MS) {
      return failed('invalid_time', `${timeField} is no time between 1970 and 2100 in epoch milliseconds`)
    }
    const segment = segmentField === null ? null : record[segmentField]
    return { ok: true, value: { id, time, segment: segment === null || segment === undefined ? '' : String(segment) } }
  }
}

/** Null when the event has none. */
export function eventId(event: CompiledEvent, record: EventRecord): string | null {
  const id = record[event.idField]
  return id === null || id === undefined || id === '' ? null : String(id)
}
