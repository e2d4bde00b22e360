import { randomUUID } from 'node:crypto'
import { AvroCursor, avroString } from '../../infra/runtime/avro/avro-bytes.ts'
import { WIRE_HEADER_BYTES, writeWireHeader } from '../../infra/runtime/avro/wire-format.ts'
import type { AvroRecord, AvroType } from '../../schemas/pipeline/avro-schema.ts'
import type { ItemProblem, ReadItem } from './event-reader.ts'
import { MAX_EVENT_BYTES } from './limits.ts'

/** Where the fields of one event lie, by their place in the schema; -1 = the event does not have it. */
export interface Fields {
  readonly source: Buffer
  readonly starts: Int32Array
  readonly ends: Int32Array
  /** All of them are there and follow one another. */
  readonly inOrder: boolean
}

/** What a field is whose value the event does not say itself. */
export interface Fallback {
  readonly bytes: Buffer
  /** Set: a value that the event has must be this one, or it is refused so. */
  readonly only: { readonly code: string; readonly detail: string } | null
}

export interface EventFacts {
  /** By the place in the schema; null = the event must have the field. */
  readonly fallbacks: readonly (Fallback | null)[]
  /** Becomes the id of an event that has none; one that has another is refused. Null = a random one. */
  readonly expectedId: string | null
}

export type Assemble = (fields: Fields, facts: EventFacts) => ReadItem

export interface AssembleOptions {
  readonly record: AvroRecord
  readonly schemaId: number
  readonly idField: string
  readonly keyField: string | null
  /** An event without an id is refused, and `expectedId` says nothing. */
  readonly idRequired: boolean
}

/** Makes an event of its fields: in the order of the schema, with what it does not say itself, and an id. */
export function createAssemble({ record, schemaId, idField, keyField, idRequired }: AssembleOptions): Assemble {
  const names = record.fields.map(({ name }) => name)
  const count = names.length
  const idSlot = names.indexOf(idField)
  const keySlot = keyField === null ? -1 : names.indexOf(keyField)
  const keyOf = keySlot < 0 ? null : textOf((record.fields[keySlot] as { readonly type: AvroType }).type)
  const header = Buffer.alloc(WIRE_HEADER_BYTES)
  writeWireHeader(header, schemaId)
  const cursor = new AvroCursor()

  function idOf({ source, starts, ends }: Fields): string {
    const at = starts[idSlot] as number
    return at < 0 ? '' : stringAt(cursor, source, at, ends[idSlot] as number)
  }

  return (fields, { fallbacks, expectedId }) => {
    const { source, starts, ends } = fields
    const own = idOf(fields)
    if (own === '' && idRequired) return refused(idField, 'missing_field', 'it names no event')
    if (own !== '' && !idRequired && expectedId !== null && own !== expectedId) {
      return refused(idField, 'idempotency_key_mismatch', 'the event has another id than the idempotency key gives it')
    }
    const id = own === '' ? (expectedId ?? randomUUID()) : own
    const assigned = own === '' ? avroString(id) : null
    let length = 0
    for (let slot = 0; slot < count; slot++) {
      const at = starts[slot] as number
      if (slot === idSlot && assigned !== null) length += assigned.length
      else if (at < 0) {
        const fallback = fallbacks[slot] ?? null
        if (fallback === null) {
          return refused(names[slot] as string, 'missing_field', 'the field is not there and has no default')
        }
        length += fallback.bytes.length
      } else length += (ends[slot] as number) - at
    }
    if (length > MAX_EVENT_BYTES) return refused(null, 'too_large', `an event may have ${MAX_EVENT_BYTES} bytes`)
    const value = Buffer.allocUnsafe(WIRE_HEADER_BYTES + length)
    for (let at = 0; at < WIRE_HEADER_BYTES; at++) value[at] = header[at] as number
    if (fields.inOrder && assigned === null) source.copy(value, WIRE_HEADER_BYTES, starts[0], ends[count - 1])
    else {
      let to = WIRE_HEADER_BYTES
      for (let slot = 0; slot < count; slot++) {
        const at = starts[slot] as number
        if (slot === idSlot && assigned !== null) to += assigned.copy(value, to)
        else if (at >= 0) to = copied(source, at, ends[slot] as number, value, to)
        else {
          const { bytes } = fallbacks[slot] as Fallback
          to = copied(bytes, 0, bytes.length, value, to)
        }
      }
    }
    return { ok: true, value, key: keyText(fields, fallbacks, id), id }
  }

  function keyText({ source, starts, ends }: Fields, fallbacks: EventFacts['fallbacks'], id: string): string | null {
    if (keyOf === null) return null
    if (keySlot === idSlot) return id
    const at = starts[keySlot] as number
    if (at >= 0) return keyOf(cursor, source, at, ends[keySlot] as number)
    const { bytes } = fallbacks[keySlot] as Fallback
    return keyOf(cursor, bytes, 0, bytes.length)
  }
}

export function refused(field: string | null, code: string, detail: string): { ok: false; problem: ItemProblem } {
  return { ok: false, problem: { code, pointer: field === null ? '' : `/${field}`, detail } }
}

/** Few bytes are copied faster here than by a call. */
const BY_HAND = 32

function copied(source: Buffer, start: number, end: number, target: Buffer, at: number): number {
  if (end - start > BY_HAND) return at + source.copy(target, at, start, end)
  let to = at
  for (let from = start; from < end; from++) target[to++] = source[from] as number
  return to
}

type TextOf = (cursor: AvroCursor, source: Buffer, start: number, end: number) => string | null

function textOf(type: AvroType): TextOf {
  switch (type.kind) {
    case 'union': {
      const branches = type.branches.map(textOf)
      return (cursor, source, start, end) => {
        const index = longAt(cursor, source, start, end)
        return (branches[index] as TextOf)(cursor, source, cursor.at, end)
      }
    }
    case 'enum':
      return (cursor, source, start, end) => type.symbols[longAt(cursor, source, start, end)] ?? null
    case 'primitive':
      if (type.type === 'null') return () => null
      return type.type === 'string' ? stringAt : bigLongAt
    default:
      throw new TypeError(`a key is no ${type.kind}`)
  }
}

function longAt(cursor: AvroCursor, source: Buffer, start: number, end: number): number {
  cursor.bytes = source
  cursor.at = start
  cursor.end = end
  return cursor.long()
}

function stringAt(cursor: AvroCursor, source: Buffer, start: number, end: number): string {
  const length = longAt(cursor, source, start, end)
  return source.toString('utf8', cursor.at, cursor.at + length)
}

function bigLongAt(_: AvroCursor, source: Buffer, start: number, end: number): string {
  let zigzag = 0n
  for (let at = end - 1; at >= start; at--) zigzag = (zigzag << 7n) | BigInt((source[at] as number) & 0x7f)
  return String((zigzag >> 1n) ^ -(zigzag & 1n))
}
