import { writeLong } from '../../../infra/runtime/avro/avro-bytes.ts'
import type { AvroType } from '../../../schemas/pipeline/avro-schema.ts'
import { type JsonCursor, KIND } from './cursor.ts'
import { memberName } from './pass-value.ts'
import type { Taken, Writer } from './scalar-writers.ts'

const CLOSE_OBJECT = 0x7d
/** Several types take what begins so: it has to say which is meant. */
const AMBIGUOUS = -1
const NONE = -2

/**
 * A bare value is of the one type that takes its kind. Where several do, and wherever an object cannot be anything else, it
 * may be wrapped as Avro's JSON has it: `{"<type>": value}`.
 */
export function unionWriter(
  branches: readonly AvroType[],
  writerOf: (type: AvroType) => Writer,
  takenBy: (type: AvroType) => Taken,
): Writer {
  const writers = branches.map(writerOf)
  const names = new Map(branches.map((branch, index) => [branchName(branch), index]))
  const taken = branches.map(takenBy)
  const byKind = Object.values(KIND).map((kind) => branchFor(taken, kind))
  const expected = branches.map(branchName).join(' or ')

  function write(cursor: JsonCursor, index: number): boolean {
    cursor.pos = writeLong(cursor.out, cursor.pos, index)
    return (writers[index] as Writer)(cursor)
  }

  function unwrap(cursor: JsonCursor): boolean {
    if (!cursor.enter()) return false
    const name = memberName(cursor)
    if (name === null) return false
    const index = names.get(name)
    if (index === undefined) {
      cursor.fail('wrong_type', `${expected} is expected`)
      return cursor.under(name)
    }
    if (!write(cursor, index)) return cursor.under(name)
    if (!cursor.passed(CLOSE_OBJECT)) return cursor.fail('wrong_type', `an object that names a type has one member`)
    cursor.depth--
    return true
  }

  return (cursor) => {
    if (!cursor.room()) return false
    const kind = cursor.kind()
    const index = byKind[kind] as number
    if (index >= 0) return write(cursor, index)
    if (kind === KIND.object) return unwrap(cursor)
    if (index === NONE) return cursor.unexpected(expected)
    return cursor.fail('ambiguous_union', `several types take it: write {"<type>": value} with ${expected}`)
  }
}

function branchFor(taken: readonly Taken[], kind: number): number {
  const first = only(taken.map(({ kinds }) => kinds.includes(kind)))
  return first === NONE ? only(taken.map(({ standIns }) => standIns.includes(kind))) : first
}

function only(takes: readonly boolean[]): number {
  const index = takes.indexOf(true)
  if (index < 0) return NONE
  return takes.lastIndexOf(true) === index ? index : AMBIGUOUS
}

function branchName(type: AvroType): string {
  switch (type.kind) {
    case 'primitive':
      return type.type
    case 'enum':
    case 'fixed':
    case 'record':
      return type.name
    default:
      return type.kind
  }
}
