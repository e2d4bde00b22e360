import { isUtf8 } from 'node:buffer'
import { AvroCursor } from '../../../infra/runtime/avro/avro-bytes.ts'
import type { AvroRecord, AvroType } from '../../../schemas/pipeline/avro-schema.ts'
import { MAX_DEPTH } from '../limits.ts'

const MAX_LONG_BYTES = 10
const INT_END = 2 ** 31

/** Stands in Avro bytes. */
export class AvroWalk extends AvroCursor {
  depth = 0
  /**
   * How many values it may still visit. What has no bytes costs nothing to send: a small schema of records in records, or an
   * array of nulls, would else be walked for ever. Below 0 = there were more, and the walk has ended where it was.
   */
  values = 0
  /** What a value is that lies where it should but is none of its type; the walk goes on behind it. */
  code = ''
  detail = ''

  wrong(code: string, detail: string): true {
    if (this.code === '') {
      this.code = code
      this.detail = detail
    }
    return true
  }

  /** Moves over a long of at most 64 bits. */
  passExactLong(): boolean {
    const start = this.at
    if (!this.passLong()) return false
    return this.at - start < MAX_LONG_BYTES || (this.bytes[this.at - 1] as number) <= 1
  }
}

/** Moves over a value; false = it does not lie there, so that it is not known where it ends. */
export type Pass = (walk: AvroWalk) => boolean

/** Passes of the fields of a record, in its order. */
export function compileWalk(record: AvroRecord): readonly Pass[] {
  const records = new Map<AvroRecord, Pass>()
  const passOf = (type: AvroType): Pass => {
    switch (type.kind) {
      case 'primitive':
        return primitive(type.type)
      case 'enum': {
        const count = type.symbols.length
        return (walk) => {
          const index = walk.long()
          if (Number.isNaN(index)) return false
          return (index >= 0 && index < count) || walk.wrong('invalid_value', `the enum has no symbol ${index}`)
        }
      }
      case 'fixed':
        return (walk) => walk.pass(type.size)
      case 'array':
        return blocks(passOf(type.items), null)
      case 'map':
        return blocks(passOf(type.values), 'map')
      case 'union': {
        const branches = type.branches.map(passOf)
        return (walk) => {
          const branch = branches[walk.long()]
          return branch?.(walk) === true
        }
      }
      case 'record': {
        const before = records.get(type)
        if (before !== undefined) return before
        let fields: readonly Pass[] | null = null
        const pass: Pass = (walk) => {
          fields ??= type.fields.map((field) => passOf(field.type))
          walk.values -= fields.length
          if (walk.values < 0 || ++walk.depth > MAX_DEPTH || !fields.every((field) => field(walk))) return false
          walk.depth--
          return true
        }
        records.set(type, pass)
        return pass
      }
    }
  }
  return record.fields.map(({ type }) => passOf(type))
}

function primitive(type: (AvroType & { readonly kind: 'primitive' })['type']): Pass {
  switch (type) {
    case 'null':
      return () => true
    case 'boolean':
      return (walk) => {
        const byte = walk.bytes[walk.at]
        if (!walk.pass(1)) return false
        return byte === 0 || byte === 1 || walk.wrong('invalid_value', `a boolean is 0 or 1, not ${byte}`)
      }
    case 'int':
      return (walk) => {
        const start = walk.at
        const value = walk.long()
        if (value >= -INT_END && value < INT_END) return true
        walk.at = start
        return walk.passExactLong() && walk.wrong('out_of_range', 'the number is not in an int')
      }
    case 'long':
      return (walk) => walk.passExactLong()
    case 'float':
      return (walk) => walk.pass(4)
    case 'double':
      return (walk) => walk.pass(8)
    case 'bytes':
      return (walk) => walk.pass(walk.length())
    case 'string':
      return passString
  }
}

function passString(walk: AvroWalk): boolean {
  const length = walk.length()
  const start = walk.at
  if (!walk.pass(length)) return false
  return isUtf8(walk.bytes.subarray(start, walk.at)) || walk.wrong('invalid_utf8', 'the string is not UTF-8')
}

/** Blocks of a count and items; a negative count is followed by the size of the block, which has to be right. */
function blocks(item: Pass, keyed: 'map' | null): Pass {
  return (walk) => {
    if (++walk.depth > MAX_DEPTH) return false
    const keys = keyed === null ? null : new Set<string>()
    for (;;) {
      const count = walk.long()
      if (count === 0) {
        walk.depth--
        return true
      }
      const size = count < 0 ? walk.length() : null
      const start = walk.at
      if (!(Math.abs(count) <= walk.end - start)) return false
      for (let left = Math.abs(count); left > 0; left--) {
        if (--walk.values < 0) return false
        if ((keys !== null && !passKey(walk, keys)) || !item(walk)) return false
      }
      if (size !== null && walk.at - start !== size) return false
    }
  }
}

function passKey(walk: AvroWalk, keys: Set<string>): boolean {
  const start = walk.at
  if (!passString(walk)) return false
  const key = walk.bytes.toString('utf8', start, walk.at)
  if (keys.has(key)) return walk.wrong('duplicate_key', 'a key of the map is there twice')
  keys.add(key)
  return true
}
