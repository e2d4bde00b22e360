import { writeLong } from '../../../infra/runtime/avro/avro-bytes.ts'
import type { AvroRecord, AvroType } from '../../../schemas/pipeline/avro-schema.ts'
import { type JsonCursor, KIND } from './cursor.ts'
import { defaultBytes } from './default-bytes.ts'
import { readItems, readMembers } from './pass-value.ts'
import { type RecordLayout, recordLayout, takeSlots } from './record-layout.ts'
import {
  enumWriter,
  fixedWriter,
  primitiveWriter,
  type ScalarWriter,
  type Taken,
  type Writer,
} from './scalar-writers.ts'
import { unionWriter } from './union-writer.ts'

/** Counts below it take one byte. */
const SHORT_COUNT = 64
const MAX_COUNT_BYTES = 5

/** Writers of the types of one schema. Records are known by identity, so that a type may contain itself. */
export type WriterOf = (type: AvroType) => Writer

export function compileWriters(): WriterOf {
  const records = new Map<AvroRecord, Writer>()
  const writerOf: WriterOf = (type) => {
    switch (type.kind) {
      case 'array':
        return arrayWriter(writerOf(type.items), takesNoBytes(type.items))
      case 'map':
        return mapWriter(writerOf(type.values))
      case 'union':
        return unionWriter(type.branches, writerOf, takenBy)
      case 'record': {
        const before = records.get(type)
        if (before !== undefined) return before
        let compiled: Writer | null = null
        const writer: Writer = (cursor) => {
          compiled ??= recordWriter(type, writerOf)
          return compiled(cursor)
        }
        records.set(type, writer)
        return writer
      }
      default:
        return scalarWriter(type).write
    }
  }
  return writerOf
}

type Scalar = AvroType & { readonly kind: 'primitive' | 'enum' | 'fixed' }

function scalarWriter(type: Scalar): ScalarWriter {
  switch (type.kind) {
    case 'primitive':
      return primitiveWriter(type)
    case 'enum':
      return enumWriter(type.symbols)
    case 'fixed':
      return fixedWriter(type)
  }
}

function takenBy(type: AvroType): Taken {
  switch (type.kind) {
    case 'array':
      return { kinds: [KIND.array], standIns: [] }
    case 'map':
    case 'record':
      return { kinds: [KIND.object], standIns: [] }
    case 'union':
      return { kinds: [], standIns: [] }
    default:
      return scalarWriter(type)
  }
}

/** One block: its count is written when it is known, the items make way for it when it takes more than a byte. */
function putCount(cursor: JsonCursor, start: number, count: number): boolean {
  if (count >= SHORT_COUNT) {
    if (!cursor.room(MAX_COUNT_BYTES)) return false
    const bytes = writeLong(cursor.out, cursor.pos + 1, count) - cursor.pos - 1
    cursor.out.copyWithin(start + bytes, start + 1, cursor.pos)
    cursor.pos += bytes - 1
  }
  writeLong(cursor.out, start, count)
  if (count > 0) cursor.out[cursor.pos++] = 0
  return true
}

function takesNoBytes(type: AvroType, around: readonly AvroType[] = []): boolean {
  if (type.kind === 'primitive') return type.type === 'null'
  if (type.kind === 'fixed') return type.size === 0
  if (type.kind !== 'record' || around.includes(type)) return false
  return type.fields.every((field) => takesNoBytes(field.type, [...around, type]))
}

/** `empty`: of items without bytes there may be one, as no decoder here believes in more items than there are bytes. */
function arrayWriter(write: Writer, empty: boolean): Writer {
  return (cursor) => {
    if (cursor.kind() !== KIND.array) return cursor.unexpected('an array')
    const start = cursor.pos++
    let count = 0
    const read = readItems(cursor, (at) => {
      count++
      if (empty && count > 1) return at.fail('too_large', 'of values without bytes an array may have one')
      return at.room() && write(at)
    })
    return read && putCount(cursor, start, count)
  }
}

function mapWriter(write: Writer): Writer {
  return (cursor) => {
    if (cursor.kind() !== KIND.object) return cursor.unexpected('an object')
    const start = cursor.pos++
    let count = 0
    const read = readMembers(cursor, (name) => {
      count++
      return cursor.write(name) && write(cursor)
    })
    return read && putCount(cursor, start, count)
  }
}

/** Of each field, what it is when it is not there; null = it must be there. */
export function fallbacksOf(record: AvroRecord): readonly (Buffer | null)[] {
  return record.fields.map((field) =>
    field.default === undefined ? null : defaultBytes(field.type, field.default, field.name),
  )
}

function recordWriter(record: AvroRecord, writerOf: WriterOf): Writer {
  const entries = record.fields.map(({ name, type }, slot) => ({ name, slot, write: writerOf(type) }))
  const layout = recordLayout(entries, entries.length)
  const fallbacks = fallbacksOf(record)
  return (cursor) => {
    if (cursor.kind() !== KIND.object) return cursor.unexpected('an object')
    const start = cursor.pos
    const base = takeSlots(cursor, layout.slots)
    const read = layout.read(cursor, base)
    cursor.slots = base
    return read && (layout.inOrder || settle(cursor, start, base, layout, fallbacks, record))
  }
}

/** Puts the fields of a record in order, behind what is there, and back where the record begins. */
function settle(
  cursor: JsonCursor,
  start: number,
  base: number,
  layout: RecordLayout,
  fallbacks: readonly (Buffer | null)[],
  record: AvroRecord,
): boolean {
  const { out, starts, ends } = cursor
  const from = cursor.pos
  let to = from
  for (let slot = 0; slot < layout.slots; slot++) {
    const at = starts[base + slot] as number
    if (at >= 0) {
      out.copyWithin(to, at, ends[base + slot])
      to += (ends[base + slot] as number) - at
      continue
    }
    const fallback = fallbacks[slot] ?? null
    if (fallback === null) {
      cursor.fail('missing_field', 'the field is not there and has no default')
      return cursor.under((record.fields[slot] as { readonly name: string }).name)
    }
    if (!cursor.room(start - from + to - from + fallback.length)) return false
    to += fallback.copy(out, to)
  }
  out.copyWithin(start, from, to)
  cursor.pos = start + to - from
  return true
}
