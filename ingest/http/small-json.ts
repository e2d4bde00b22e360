import { HttpProblem } from './problem.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** Members that mean something to JavaScript and nothing to a caller. */
const FORBIDDEN = new Set(['__proto__', 'constructor', 'prototype'])

/**
 * A JSON body that no event is made of. Throws `HttpProblem` 400: `invalid_json` (not JSON, or not UTF-8), `json_too_deep` (arrays
 * and objects in one another), `json_too_wide` (members of all objects together), `duplicate_key`, `forbidden_key`.
 */
export function parseSmallJson(body: Buffer, maxDepth: number, maxKeys: number): unknown {
  let text: string
  try {
    text = utf8.decode(body)
  } catch (error) {
    throw new HttpProblem(400, 'invalid_json', 'the body is not UTF-8', { cause: error })
  }
  // before anything is made of it
  checkShape(text, maxDepth, maxKeys)
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    throw new HttpProblem(400, 'invalid_json', 'the body is not JSON', { cause: error })
  }
}

/** Of JSON it says what is wrong with its shape; what is not JSON it may let pass. */
function checkShape(text: string, maxDepth: number, maxKeys: number): void {
  /** The keys of the objects that are open; null = an array. */
  const open: (Set<string> | null)[] = []
  let keys = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x7b || code === 0x5b) {
      if (open.length === maxDepth) throw new HttpProblem(400, 'json_too_deep', `more than ${maxDepth} levels`)
      open.push(code === 0x7b ? new Set() : null)
    } else if (code === 0x7d || code === 0x5d) {
      open.pop()
    } else if (code === QUOTE) {
      const end = endOfString(text, at)
      const members = open.at(-1)
      if (members !== null && members !== undefined && isKey(text, end)) {
        if (++keys > maxKeys) throw new HttpProblem(400, 'json_too_wide', `more than ${maxKeys} members`)
        const key = keyOf(text.slice(at, end))
        if (FORBIDDEN.has(key)) throw new HttpProblem(400, 'forbidden_key', `a member may not be called ${key}`)
        if (members.has(key)) throw new HttpProblem(400, 'duplicate_key', 'an object has a member twice')
        members.add(key)
      }
      at = end - 1
    }
  }
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
