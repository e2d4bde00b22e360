import { MAX_KEYS } from '../limits.ts'
import { type JsonCursor, KIND } from './cursor.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const CLOSE_ARRAY = 0x5d
const CLOSE_OBJECT = 0x7d

/** Moves over a value that nobody reads, and holds it to the same rules as one that somebody does. */
export function passValue(cursor: JsonCursor): boolean {
  switch (cursor.kind()) {
    case KIND.null:
      return cursor.word('null')
    case KIND.boolean:
      return cursor.word(cursor.bytes[cursor.at] === 0x74 ? 'true' : 'false')
    case KIND.number:
      return cursor.number()
    case KIND.string:
      return cursor.text() !== null
    case KIND.array:
      return readItems(cursor, passValue)
    case KIND.object:
      return readMembers(cursor, () => passValue(cursor))
    default:
      return cursor.syntax('a value')
  }
}

/** Reads the array that begins here, item by item. */
export function readItems(cursor: JsonCursor, item: (cursor: JsonCursor) => boolean): boolean {
  if (!cursor.enter()) return false
  if (cursor.passed(CLOSE_ARRAY)) return leave(cursor)
  for (let index = 0; ; index++) {
    if (!item(cursor)) return cursor.under(index)
    if (cursor.passed(COMMA)) continue
    return cursor.passed(CLOSE_ARRAY) ? leave(cursor) : cursor.syntax(', or ]')
  }
}

function leave(cursor: JsonCursor): true {
  cursor.depth--
  return true
}

/** Reads the object that begins here, of whose names nothing is known; `member` is called where the value begins. */
export function readMembers(cursor: JsonCursor, member: (name: string) => boolean): boolean {
  if (!cursor.enter()) return false
  if (cursor.passed(CLOSE_OBJECT)) return leave(cursor)
  const names = new Set<string>()
  for (;;) {
    const name = memberName(cursor)
    if (name === null) return false
    if (names.has(name)) {
      cursor.fail('duplicate_key', 'the name is there twice')
      return cursor.under(name)
    }
    if (names.size >= MAX_KEYS) return cursor.fail('too_many_keys', `an object may have ${MAX_KEYS} members`)
    names.add(name)
    if (!member(name)) return cursor.under(name)
    if (cursor.passed(COMMA)) continue
    return cursor.passed(CLOSE_OBJECT) ? leave(cursor) : cursor.syntax(', or }')
  }
}

/** The name that begins here, and the colon after it; null = there is none. */
export function memberName(cursor: JsonCursor): string | null {
  if (cursor.at >= cursor.end || cursor.bytes[cursor.at] !== QUOTE) {
    cursor.syntax('a name in double quotes')
    return null
  }
  const name = cursor.text()
  if (name === null) return null
  if (cursor.passed(COLON)) return name
  cursor.syntax(':')
  return null
}
