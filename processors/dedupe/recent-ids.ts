/**
 * The event ids of one partition's last records, by offset. What it answers depends on the log alone: whether one of the
 * `window` offsets before a record's own holds its id, whatever became of that record. So a record that is handled
 * again, here or in another process that read the window back, gets the same answer.
 */
export interface RecentIds {
  /** Whether the id (`ownedId`) is a repeat; notes it. Offsets ascend, but for those that come again. */
  isRepeat(offset: number, id: string): boolean
  /** Offsets below `from` that `isRepeat` needs to know and does not: read them, with `isRepeat`, before anything at or above `from`. */
  rewind(from: number): { readonly from: number; readonly to: number } | null
}

/** Ids are a tenant's own: those of another one repeat nothing. */
export function ownedId(tenant: string, eventId: string): string {
  return `${tenant}\n${eventId}`
}

interface Noted {
  readonly offset: number
  readonly id: string
  readonly repeat: boolean
}

export function createRecentIds(window: number): RecentIds {
  /** Ascending; old ones are cut off in blocks. */
  let notes: Noted[] = []
  let latest = new Map<string, number>()
  /** Everything from here on was noted. */
  let knownFrom: number | null = null

  function find(offset: number): Noted | undefined {
    let low = 0
    let high = notes.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((notes[middle] as Noted).offset < offset) low = middle + 1
      else high = middle
    }
    const note = notes[low]
    return note?.offset === offset ? note : undefined
  }

  /** Twice the window is kept, so that a lane that goes back a little needs nothing read. */
  function forgetOld(offset: number): void {
    const first = notes[0]
    if (first === undefined || first.offset > offset - 3 * window) return
    const oldest = offset - 2 * window
    for (const { id, offset: noted } of notes) {
      if (noted >= oldest) break
      if (latest.get(id) === noted) latest.delete(id)
    }
    notes = notes.filter((note) => note.offset >= oldest)
    knownFrom = Math.max(knownFrom ?? oldest, oldest)
  }

  function keepBelow(offset: number): void {
    notes = notes.filter((note) => note.offset < offset)
    latest = new Map(notes.map((note) => [note.id, note.offset]))
  }

  return {
    isRepeat(offset, id) {
      if ((notes.at(-1)?.offset ?? -1) >= offset) {
        const again = find(offset)
        if (again !== undefined) return again.repeat
        // what lies behind was noted by a run that the lane has gone back from
        keepBelow(offset)
      }
      const before = latest.get(id)
      const repeat = before !== undefined && before >= offset - window
      notes.push({ offset, id, repeat })
      latest.set(id, offset)
      knownFrom ??= offset
      forgetOld(offset)
      return repeat
    },
    rewind(from) {
      const needed = Math.max(0, from - window)
      const last = notes.at(-1)
      if (knownFrom !== null && knownFrom <= needed && last !== undefined && last.offset >= from - 1) {
        keepBelow(from)
        return null
      }
      notes = []
      latest = new Map()
      knownFrom = needed
      return from === 0 ? null : { from: needed, to: from }
    },
  }
}
