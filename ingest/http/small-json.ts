import { HttpProblem } from './problem.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const BACKSLASH = 0x5c
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** Members that mean something to JavaScript and nothing to a caller. */
const FORBIDDEN = new Set(['__proto__', 'constructor', 'prototype'])

/** Of all arrays together, for each member that there may be. */
const ELEMENTS_PER_KEY = 10

interface SmallJsonOptions {
  /** Elements of all arrays together; an empty one counts as one. Default: 10 for each of `maxKeys`. */
  readonly maxElements?: number
  /** As `JSON.parse` has it: `source` is the text of a value that is neither an array nor an object. */
  readonly reviver?: (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown
}

/**
 * A JSON body that no event is made of. Throws `HttpProblem` 400: `invalid_json` (not JSON, or not UTF-8), `json_too_deep` (arrays
 * and objects in one another), `json_too_wide` (members of all objects together, or elements), `duplicate_key`, `forbidden_key`.
 */
export function parseSmallJson(
  body: Buffer,
  maxDepth: number,
  maxKeys: number,
  { maxElements = ELEMENTS_PER_KEY * maxKeys, reviver }: SmallJsonOptions = {},
): unknown {
  let text: string
  try {
    text = utf8.decode(body)
  } catch (error) {
    throw new HttpProblem(400, 'invalid_json', 'the body is not UTF-8', { cause: error })
  }
  // before anything is made of it
  checkShape(text, maxDepth, maxKeys, maxElements)
  try {
    return JSON.parse(text, reviver as Parameters<typeof JSON.parse>[1]) as unknown
  } catch (error) {
    throw new HttpProblem(400, 'invalid_json', 'the body is not JSON', { cause: error })
  }
}

/** Of JSON it says what is wrong with its shape; what is not JSON it may let pass. */
function checkShape(text: string, maxDepth: number, maxKeys: number, maxElements: number): void {
  /** The keys of the objects that are open; null = an array. */
  const open: (Set<string> | null)[] = []
  let members: Set<string> | null | undefined
  let keys = 0
  let elements = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === OPEN_ARRAY || (code === COMMA && members === null)) {
      if (++elements > maxElements) throw tooWide(maxElements, 'elements')
    }
    if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      if (open.length === maxDepth) throw new HttpProblem(400, 'json_too_deep', `more than ${maxDepth} levels`)
      members = code === OPEN_OBJECT ? new Set() : null
      open.push(members)
    } else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) {
      open.pop()
      members = open.at(-1)
    } else if (code === QUOTE) {
      const end = endOfString(text, at)
      if (members !== null && members !== undefined && isKey(text, end)) {
        if (++keys > maxKeys) throw tooWide(maxKeys, 'members')
        const key = keyOf(text.slice(at, end))
        if (FORBIDDEN.has(key)) throw new HttpProblem(400, 'forbidden_key', `a member may not be called ${key}`)
        if (members.has(key)) throw new HttpProblem(400, 'duplicate_key', 'an object has a member twice')
        members.add(key)
      }
      at = end - 1
    }
  }
}

function tooWide(most: number, what: string): HttpProblem {
  return new HttpProblem(400, 'json_too_wide', `more than ${most} ${what}`)
}

/** Index after its closing quote, or of the text's end. */
function endOfString(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1
  return Math.min(at + 1, text.length)
}

function isKey(text: string, after: number): boolean {
  let at = after
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++
  return text[at] === ':'
}

function keyOf(literal: string): string {
  if (!literal.includes('\\')) return literal.slice(1, -1)
  try {
    return JSON.parse(literal) as string
  } catch (error) {
    throw new HttpProblem(400, 'invalid_json', 'the body is not JSON', { cause: error })
  }
}
