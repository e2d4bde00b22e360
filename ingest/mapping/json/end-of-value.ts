import { type JsonCursor, KIND } from './cursor.ts'

const COMMA = 0x2c
const COLON = 0x3a
const QUOTE = 0x22
const CLOSE_OBJECT = 0x7d
const CLOSE_ARRAY = 0x5d

/**
 * Moves over a value of any depth, of which only the syntax counts: behind it the next one begins, whatever was wrong with
 * this one. False = it is not JSON.
 */
export function passSyntax(cursor: JsonCursor): boolean {
  /** What closes the objects and arrays around. */
  const around: number[] = []
  for (;;) {
    const kind = cursor.kind()
    if (kind === KIND.object || kind === KIND.array) {
      const close = kind === KIND.object ? CLOSE_OBJECT : CLOSE_ARRAY
      cursor.at++
      cursor.space()
      if (!cursor.passed(close)) {
        around.push(close)
        if (close === CLOSE_OBJECT && !passName(cursor)) return false
        continue
      }
    } else if (!passScalar(cursor, kind)) return false
    for (;;) {
      const close = around.at(-1)
      if (close === undefined) return true
      if (cursor.passed(COMMA)) {
        if (close === CLOSE_OBJECT && !passName(cursor)) return false
        break
      }
      if (!cursor.passed(close)) return cursor.syntax(close === CLOSE_OBJECT ? ', or }' : ', or ]')
      around.pop()
    }
  }
}

function passScalar(cursor: JsonCursor, kind: number): boolean {
  switch (kind) {
    case KIND.null:
      return cursor.word('null')
    case KIND.boolean:
      return cursor.word(cursor.bytes[cursor.at] === 0x74 ? 'true' : 'false')
    case KIND.number:
      return cursor.number()
    case KIND.string:
      return cursor.passString()
    default:
      return cursor.syntax('a value')
  }
}

function passName(cursor: JsonCursor): boolean {
  if (cursor.at >= cursor.end || cursor.bytes[cursor.at] !== QUOTE) return cursor.syntax('a name in double quotes')
  if (!cursor.passString()) return false
  return cursor.passed(COLON) || cursor.syntax(':')
}
