/** Reading of untyped data (a definition, a manifest) with every problem reported at its place. */
import { type Report, suggest } from './problems.ts'

/** One place in the data. Readers answer null after they have reported what is wrong; a missing value is reported once. */
export interface Cursor {
  readonly value: unknown
  readonly path: string
  /** False when nothing is there. */
  readonly given: boolean
  problem(message: string): null
  /** The object's members. Reports those that are required and missing, and those that nobody knows. */
  object<Key extends string>(required: readonly Key[], optional?: readonly Key[]): Readonly<Record<Key, Cursor>> | null
  /** The members of an object with free names. */
  entries(): readonly (readonly [name: string, member: Cursor])[] | null
  list(): readonly Cursor[] | null
  string(pattern?: RegExp, expected?: string): string | null
  number(accept?: (value: number) => boolean, expected?: string): number | null
  /** One of the words. */
  oneOf<Word extends string>(words: readonly Word[]): Word | null
}

export function cursor(value: unknown, path: string, report: Report): Cursor {
  const problem = (message: string): null => {
    report(path, message)
    return null
  }
  const child = (key: string, member: unknown): Cursor => cursor(member, path === '' ? key : `${path}.${key}`, report)
  const given = value !== undefined
  const asObject = (): Readonly<Record<string, unknown>> | null => {
    if (!given) return null
    const plain = typeof value === 'object' && value !== null && !Array.isArray(value)
    return plain ? { ...value } : problem(`an object is expected, not ${show(value)}`)
  }
  return {
    value,
    path,
    given,
    problem,
    object<Key extends string>(required: readonly Key[], optional: readonly Key[] = []) {
      const object = asObject()
      if (object === null) return null
      const known = [...required, ...optional]
      for (const name of Object.keys(object)) {
        if (!known.some((key) => key === name)) child(name, null).problem(`unknown key${suggest(name, known)}`)
      }
      const members = {} as Record<Key, Cursor>
      for (const key of known) members[key] = child(key, object[key])
      for (const key of required) if (!members[key].given) members[key].problem('is missing')
      return members
    },
    entries() {
      const object = asObject()
      return object === null
        ? null
        : Object.entries(object).map(([name, member]) => [name, child(name, member)] as const)
    },
    list() {
      if (!given) return null
      if (!Array.isArray(value)) return problem(`a list is expected, not ${show(value)}`)
      return value.map((member: unknown, index) => cursor(member, `${path}[${index}]`, report))
    },
    string(pattern = /./, expected = 'a text that is not empty') {
      if (!given) return null
      return typeof value === 'string' && pattern.test(value) ? value : problem(`${show(value)} is not ${expected}`)
    },
    number(accept = Number.isFinite, expected = 'a finite number') {
      if (!given) return null
      return typeof value === 'number' && accept(value) ? value : problem(`${show(value)} is not ${expected}`)
    },
    oneOf<Word extends string>(words: readonly Word[]) {
      if (!given) return null
      return words.find((word) => word === value) ?? problem(`${show(value)} is not one of ${words.join(', ')}`)
    },
  }
}

function show(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value === 'string') return JSON.stringify(value)
  return String(value)
}
