import type { Cursor } from '../cursor.ts'

/** Texts that differ from one another; null when there is no list. */
export function readNames(list: Cursor): readonly string[] | null {
  const members = list.list()
  if (members === null) return null
  const names: string[] = []
  for (const member of members) {
    const name = member.string(/^/, 'a text')
    if (name === null) continue
    if (names.includes(name)) member.problem(`${JSON.stringify(name)} is there twice`)
    names.push(name)
  }
  return names
}
