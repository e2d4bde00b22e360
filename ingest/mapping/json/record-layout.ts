import type { JsonCursor } from './cursor.ts'
import { memberName } from './pass-value.ts'
import type { Writer } from './scalar-writers.ts'

const COMMA = 0x2c
const CLOSE_OBJECT = 0x7d

/** A name that an object may have, and where what is under it goes. */
export interface Entry {
  readonly name: string
  /** Two names of one slot exclude each other. Fields of the record have the slots from 0 in its order. */
  readonly slot: number
  readonly write: Writer
}

/** The names of one kind of object. */
export interface RecordLayout {
  readonly slots: number
  /**
   * Reads the object that begins at the cursor. What is written for slot i lies in `out` from `starts[base + i]` to
   * `ends[base + i]`, -1 = it was not there. `inOrder` says that the slots from 0 on follow one another, all of them.
   */
  read(cursor: JsonCursor, base: number): boolean
  inOrder: boolean
}

interface Known extends Entry {
  /** The name as objects nearly always have it: its letters, the quote behind them, and a colon. */
  readonly token: Uint8Array
  /** The entry that came after this one when last it was there. */
  next: Known | null
}

export function recordLayout(entries: readonly Entry[], fields: number): RecordLayout {
  const known: readonly Known[] = entries.map((entry) => ({
    ...entry,
    token: Uint8Array.from(Buffer.from(`${JSON.stringify(entry.name)}:`)),
    next: null,
  }))
  known.forEach((entry, index) => {
    entry.next = known[index + 1] ?? null
  })
  const byName = new Map(known.map((entry) => [entry.name, entry]))
  const slots = entries.reduce((most, { slot }) => Math.max(most, slot + 1), 0)
  let first = known[0] ?? null

  function find(cursor: JsonCursor): Known | null {
    const name = memberName(cursor)
    if (name === null) return null
    const entry = byName.get(name)
    if (entry !== undefined) return entry
    cursor.fail('unknown_field', 'the schema has no such field')
    cursor.under(name)
    return null
  }

  const layout: RecordLayout = {
    slots,
    inOrder: false,
    read(cursor, base) {
      if (!cursor.enter()) return false
      cursor.starts.fill(-1, base, base + slots)
      layout.inOrder = false
      if (cursor.passed(CLOSE_OBJECT)) {
        cursor.depth--
        return true
      }
      let last: Known | null = null
      let expected = first
      let following = 0
      for (;;) {
        let entry: Known
        if (expected !== null && passToken(cursor, expected.token)) entry = expected
        else {
          const found = find(cursor)
          if (found === null) return false
          entry = found
          if (last === null) first = entry
          else last.next = entry
        }
        const at = base + entry.slot
        if (cursor.starts[at] !== -1) {
          cursor.fail('duplicate_key', 'the field is there twice')
          return cursor.under(entry.name)
        }
        const start = cursor.pos
        if (!entry.write(cursor)) return cursor.under(entry.name)
        cursor.starts[at] = start
        cursor.ends[at] = cursor.pos
        following = entry.slot === following ? following + 1 : -1
        last = entry
        expected = entry.next
        if (cursor.passed(COMMA)) continue
        if (!cursor.passed(CLOSE_OBJECT)) return cursor.syntax(', or }')
        cursor.depth--
        layout.inOrder = following === fields
        return true
      }
    },
  }
  return layout
}

/** Moves over the name and its colon, when they are what begins here. */
function passToken(cursor: JsonCursor, token: Uint8Array): boolean {
  const { bytes, at } = cursor
  const { length } = token
  if (at + length > cursor.end) return false
  for (let index = 0; index < length; index++) {
    if (bytes[at + index] !== token[index]) return false
  }
  cursor.at = at + length
  if ((bytes[cursor.at] as number) <= 0x20) cursor.space()
  return true
}

/** Takes room for the slots of a record, and answers where it begins; give it back through `cursor.slots`. */
export function takeSlots(cursor: JsonCursor, count: number): number {
  const base = cursor.slots
  cursor.slots = base + count
  if (cursor.slots > cursor.starts.length) {
    cursor.starts = grown(cursor.starts, cursor.slots)
    cursor.ends = grown(cursor.ends, cursor.slots)
  }
  return base
}

function grown(slots: Int32Array, least: number): Int32Array {
  const larger = new Int32Array(2 * least)
  larger.set(slots)
  return larger
}
