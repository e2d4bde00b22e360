import type { DataRecord, TimedRecords } from './timed-records.ts'

/** Hands out the labels of replayed events, when they happen on the replay's clock. */
export interface LabelFeed {
  /** The event has been replayed: its labels are wanted. Gives those that had happened before it. */
  replayed(eventId: string): readonly DataRecord[]
  /** Whether `next` has something to look at up to that time. */
  dueBy(time: number): boolean
  /** Takes off the next label, and gives it if its event has been replayed. */
  next(): Promise<DataRecord | null>
  /** Replayed events that a label was handed out for. */
  labelled(): number
}

export function createLabelFeed(labels: TimedRecords, idField: string): LabelFeed {
  /** Replayed events; true once a label was handed out. */
  const replayed = new Map<string, boolean>()
  /** Labels whose event has not been replayed yet, or never will. */
  const early = new Map<string, DataRecord[]>()
  let labelled = 0

  function handOut(id: string): void {
    if (replayed.get(id) === true) return
    replayed.set(id, true)
    labelled++
  }

  return {
    replayed(eventId) {
      const known = early.get(eventId)
      if (!replayed.has(eventId)) replayed.set(eventId, false)
      if (known === undefined) return []
      early.delete(eventId)
      handOut(eventId)
      return known
    },
    dueBy: (time) => labels.head !== null && labels.head.time <= time,
    async next() {
      const { head } = labels
      if (head === null) return null
      await labels.advance()
      const id = String(head.record[idField])
      if (replayed.has(id)) {
        handOut(id)
        return head.record
      }
      const others = early.get(id)
      if (others === undefined) early.set(id, [head.record])
      else others.push(head.record)
      return null
    },
    labelled: () => labelled,
  }
}
