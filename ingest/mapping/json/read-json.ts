import { isUtf8 } from 'node:buffer'
import { rejected } from '../../../infra/runtime/errors.ts'
import { type Assemble, type EventFacts, refused } from '../assemble.ts'
import type { ReadItem } from '../event-reader.ts'
import { jsonCursor as cursor, KIND } from './cursor.ts'
import { passSyntax } from './end-of-value.ts'
import { type RecordLayout, takeSlots } from './record-layout.ts'

const COMMA = 0x2c
const CLOSE_ARRAY = 0x5d
const NEWLINE = 0x0a
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])

export interface JsonBodies {
  /** One event, or several in an array. Throws `invalid_body` or `too_many_events` (reject). */
  body(
    body: Buffer,
    maxEvents: number,
    facts: FactsOf,
  ): { readonly items: readonly ReadItem[]; readonly several: boolean }
  /** One event a line; lines without any are passed over. */
  lines(body: Buffer, maxEvents: number, facts: FactsOf): readonly ReadItem[]
}

/** What is known of the event at an index; `several` = it has others beside it. */
type FactsOf = (index: number, several: boolean) => EventFacts

/** `layout` has the event's fields in its first slots, in the order of the schema. */
export function createJsonBodies(layout: RecordLayout, assemble: Assemble): JsonBodies {
  /** Reads the event between two bytes, and leaves the cursor behind it; null = it is in the cursor what is wrong. */
  function readEvent(body: Buffer, at: number, end: number, facts: EventFacts): ReadItem | null {
    cursor.reset(body, at, end)
    takeSlots(cursor, layout.slots)
    const read = cursor.kind() === KIND.object ? layout.read(cursor, 0) : cursor.unexpected('an object')
    if (!read) return null
    const { out, starts, ends } = cursor
    return assemble({ source: out, starts, ends, inOrder: layout.inOrder }, facts)
  }

  function problem(): ReadItem {
    const { code, pointer, detail } = cursor
    return { ok: false, problem: { code, pointer, detail } }
  }

  /** As `readEvent`; behind what is no event the cursor stands as well. Throws `invalid_body` where it is no JSON. */
  function readValue(body: Buffer, at: number, facts: EventFacts): ReadItem {
    const item = readEvent(body, at, body.length, facts)
    if (item !== null) return item
    const found = problem()
    cursor.reset(body, at, body.length)
    if (!passSyntax(cursor)) throw rejected('invalid_body', cursor.detail)
    cursor.space()
    return found
  }

  function atEnd(): void {
    if (cursor.at < cursor.end) throw rejected('invalid_body', `the body goes on behind its JSON, at byte ${cursor.at}`)
  }

  function readArray(body: Buffer, maxEvents: number, facts: FactsOf): readonly ReadItem[] {
    const items: ReadItem[] = []
    cursor.at++
    cursor.space()
    if (!cursor.passed(CLOSE_ARRAY)) {
      do {
        if (items.length >= maxEvents) throw tooMany(maxEvents)
        items.push(readValue(body, cursor.at, facts(items.length, true)))
      } while (cursor.passed(COMMA))
      if (!cursor.passed(CLOSE_ARRAY)) {
        cursor.syntax(', or ]')
        throw rejected('invalid_body', cursor.detail)
      }
    }
    atEnd()
    return items
  }

  return {
    body(body, maxEvents, facts) {
      refuseMark(body)
      if (!isUtf8(body)) throw rejected('invalid_body', 'the body is not UTF-8')
      cursor.reset(body, 0, body.length)
      cursor.space()
      if (cursor.kind() === KIND.array) return { items: readArray(body, maxEvents, facts), several: true }
      const item = readValue(body, cursor.at, facts(0, false))
      atEnd()
      return { items: [item], several: false }
    },
    lines(body, maxEvents, facts) {
      refuseMark(body)
      const items: ReadItem[] = []
      const valid = isUtf8(body)
      for (let start = 0; start < body.length; ) {
        const newline = body.indexOf(NEWLINE, start)
        const end = newline < 0 ? body.length : newline
        cursor.reset(body, start, end)
        cursor.space()
        const from = cursor.at
        if (from < end) {
          if (items.length >= maxEvents) throw tooMany(maxEvents)
          const readable = valid || isUtf8(body.subarray(start, end))
          items.push(
            readable
              ? readLine(body, from, end, facts(items.length, true))
              : refused(null, 'invalid_utf8', 'the line is not UTF-8'),
          )
        }
        start = end + 1
      }
      return items
    },
  }

  function readLine(body: Buffer, at: number, end: number, facts: EventFacts): ReadItem {
    const item = readEvent(body, at, end, facts)
    if (item === null) return problem()
    return cursor.at === end ? item : refused(null, 'invalid_json', `the line goes on at byte ${cursor.at}`)
  }
}

function refuseMark(body: Buffer): void {
  if (body.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK)) {
    throw rejected('invalid_body', 'the body begins with a byte order mark')
  }
}

function tooMany(maxEvents: number): Error {
  return rejected('too_many_events', `a request may have ${maxEvents} events`)
}
