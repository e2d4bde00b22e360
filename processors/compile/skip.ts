import type { AvroCursor } from '../../infra/runtime/avro/avro-bytes.ts'
import type { AvroType } from '../../schemas/pipeline/avro-schema.ts'

/** Moves over a value; false when it is not there as it should be, or only the Avro library can tell. */
export type Skip = (cursor: AvroCursor) => boolean

/**
 * For a type that the pipeline reads nothing of. `read`: the reader's schema has the field as well, so that the Avro
 * library would read the value, and refuse a long that is no safe integer. Null for a type that contains itself, or has a
 * `fixed` in it.
 */
export function compileSkip(type: AvroType, read: boolean, around: readonly AvroType[] = []): Skip | null {
  if (around.includes(type)) return null
  const inner = (part: AvroType): Skip | null => compileSkip(part, read, [...around, type])
  switch (type.kind) {
    case 'primitive':
      return skipPrimitive(type.type, read)
    case 'enum': {
      const count = type.symbols.length
      return (cursor) => inRange(cursor.long(), count)
    }
    case 'fixed':
      return null
    case 'array': {
      const item = inner(type.items)
      return item === null ? null : skipBlocks(item)
    }
    case 'map': {
      const value = inner(type.values)
      return value === null ? null : skipBlocks((cursor) => cursor.pass(cursor.length()) && value(cursor))
    }
    case 'union': {
      const branches = all(type.branches.map(inner))
      if (branches === null) return null
      return (cursor) => {
        const index = cursor.long()
        return inRange(index, branches.length) && (branches[index] as Skip)(cursor)
      }
    }
    case 'record': {
      const fields = all(type.fields.map((field) => inner(field.type)))
      return fields === null ? null : (cursor) => fields.every((field) => field(cursor))
    }
  }
}

function skipPrimitive(type: (AvroType & { readonly kind: 'primitive' })['type'], read: boolean): Skip {
  switch (type) {
    case 'null':
      return () => true
    case 'boolean':
      return (cursor) => cursor.pass(1)
    case 'int':
    case 'long':
      return read ? (cursor) => !Number.isNaN(cursor.long()) : (cursor) => cursor.passLong()
    case 'float':
      return (cursor) => cursor.pass(4)
    case 'double':
      return (cursor) => cursor.pass(8)
    case 'bytes':
    case 'string':
      return (cursor) => cursor.pass(cursor.length())
  }
}

/** Blocks of a count and items; a negative count is followed by the size of the block, which has to be right. */
function skipBlocks(item: Skip): Skip {
  return (cursor) => {
    for (;;) {
      const count = cursor.long()
      if (count === 0) return true
      const size = count < 0 ? cursor.length() : null
      const start = cursor.at
      // items may be empty, as those of an array of nulls; the library holds them to the bytes that are left as well
      if (!(Math.abs(count) <= cursor.end - start)) return false
      for (let left = Math.abs(count); left > 0; left--) if (!item(cursor)) return false
      if (size !== null && cursor.at - start !== size) return false
    }
  }
}

function inRange(index: number, count: number): boolean {
  return index >= 0 && index < count
}

function all(parts: readonly (Skip | null)[]): readonly Skip[] | null {
  return parts.every((part) => part !== null) ? parts : null
}
