import { fatal, rejected } from '../../infra/runtime/errors.ts'
import { type AvroRecord, type AvroType, parseRecordSchema, scalarOf } from '../../schemas/pipeline/avro-schema.ts'
import type { AvroSchema, CompiledHttpMapping } from '../../schemas/pipeline/compiled.ts'
import { createAssemble, type Fallback } from './assemble.ts'
import { createAvroBodies } from './avro/read-avro.ts'
import type { EventReader, ItemProblem, ReadItem, ReadOptions } from './event-reader.ts'
import { compileWriters, fallbacksOf, type WriterOf } from './json/compile-writer.ts'
import { jsonCursor } from './json/cursor.ts'
import { passValue } from './json/pass-value.ts'
import { createJsonBodies } from './json/read-json.ts'
import { type Entry, recordLayout } from './json/record-layout.ts'

const IDEMPOTENCY_KEY = /^[\x20-\x7e]{1,255}$/
const JSON_NUMBER = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/
const NO_FACTS: readonly (Fallback | null)[] = []

export interface EventReaderOptions {
  readonly schema: AvroSchema
  readonly schemaId: number
  readonly idField: string
  /** Null: events have no key. */
  readonly keyField: string | null
  readonly mapping: CompiledHttpMapping | null
  /** Of labels: their id is an event's. One without is refused, and the idempotency key has no part in it. Default: false. */
  readonly idRequired?: boolean
}

/** Throws `invalid_schema` (crash) for a default or a constant that is no value of its field. */
export function createEventReader(options: EventReaderOptions): EventReader {
  const { schema, schemaId, idField, keyField, mapping, idRequired = false } = options
  const record = parseRecordSchema(schema)
  const writerOf = compileWriters()
  const entries = entriesOf(record, mapping, writerOf)
  const assemble = createAssemble({ record, schemaId, idField, keyField, idRequired })
  const json = createJsonBodies(recordLayout(entries, record.fields.length), assemble)
  const avro = createAvroBodies(schema, record, assemble)
  const constants = constantsOf(record, mapping, writerOf)
  const headers = (mapping?.headers ?? []).map(({ header, field }) => ({
    header,
    field,
    slot: record.fields.findIndex(({ name }) => name === field),
    write: headerWriter(header, typeOf(record, field), writerOf),
  }))

  /** What the request's headers say; a problem when one of them is no value of its field. */
  function fallbacksFor(given: ReadOptions['headers']): readonly (Fallback | null)[] | ItemProblem {
    if (headers.length === 0) return constants
    const fallbacks = [...constants]
    for (const { header, field, slot, write } of headers) {
      const [text, ...others] = [given[header] ?? []].flat()
      if (text === undefined) continue
      if (others.length > 0) {
        return { code: 'duplicate_header', pointer: `/${field}`, detail: `the header ${header} is there twice` }
      }
      const bytes = write(text)
      if (!Buffer.isBuffer(bytes)) return { ...bytes, pointer: `/${field}` }
      const only = { code: 'header_field', detail: `the field comes from the header ${header}, which says otherwise` }
      fallbacks[slot] = { bytes, only }
    }
    return fallbacks
  }

  return {
    read(body, format, { idempotencyKey, headers: given, maxEvents }) {
      if (idempotencyKey !== null && !IDEMPOTENCY_KEY.test(idempotencyKey)) {
        throw rejected('invalid_idempotency_key', 'an idempotency key has 1 to 255 printable ASCII characters')
      }
      const found = fallbacksFor(given)
      const bad = 'code' in found ? found : null
      const fallbacks = 'code' in found ? NO_FACTS : found
      const facts = (index: number, several = true) => ({
        fallbacks,
        expectedId: idempotencyKey === null || !several ? idempotencyKey : `${idempotencyKey}.${index}`,
      })
      const told = (items: readonly ReadItem[]): readonly ReadItem[] =>
        bad === null ? items : items.map(() => ({ ok: false, problem: bad }))
      switch (format) {
        case 'json': {
          const { items, several } = json.body(body, maxEvents, facts)
          return { items: told(items), several }
        }
        case 'ndjson':
          return { items: told(json.lines(body, maxEvents, facts)), several: true }
        case 'avro':
          return { items: told([avro.single(body, facts(0, false))]), several: false }
        case 'avro-container':
          return { items: told(avro.container(body, maxEvents, facts)), several: true }
      }
    },
  }
}

/** The names that an event may have: its fields, other names for them, and what is dropped. */
function entriesOf(record: AvroRecord, mapping: CompiledHttpMapping | null, writerOf: WriterOf): readonly Entry[] {
  const constants = new Set(mapping?.constants.map(({ field }) => field))
  const headers = new Map(mapping?.headers.map(({ header, field }) => [field, header]))
  const fields = record.fields.map(({ name, type }, slot): Entry => {
    const header = headers.get(name)
    if (constants.has(name)) {
      return { name, slot, write: (cursor) => cursor.fail('constant_field', 'the pipeline gives the field its value') }
    }
    if (header === undefined) return { name, slot, write: writerOf(type) }
    return { name, slot, write: (cursor) => cursor.fail('header_field', `the field comes from the header ${header}`) }
  })
  const renamed = (mapping?.rename ?? []).map(({ from, to }): Entry => {
    const slot = fields.findIndex(({ name }) => name === to)
    return { name: from, slot, write: writerOf(typeOf(record, to)) }
  })
  const dropped = (mapping?.drop ?? []).map((name, index): Entry => {
    return { name, slot: fields.length + index, write: passValue }
  })
  return [...fields, ...renamed, ...dropped]
}

function typeOf(record: AvroRecord, name: string): AvroType {
  const field = record.fields.find((candidate) => candidate.name === name)
  if (field === undefined) throw fatal('invalid_schema', `there is no field ${name} in ${record.name}`)
  return field.type
}

/** By the place in the schema, of fields that the event does not say itself: their constant or default. */
function constantsOf(
  record: AvroRecord,
  mapping: CompiledHttpMapping | null,
  writerOf: WriterOf,
): readonly (Fallback | null)[] {
  const fallbacks = fallbacksOf(record).map((bytes): Fallback | null => (bytes === null ? null : { bytes, only: null }))
  for (const { field, value } of mapping?.constants ?? []) {
    const bytes = writeAlone(JSON.stringify(value), typeOf(record, field), writerOf)
    if (!Buffer.isBuffer(bytes)) throw fatal('invalid_schema', `the constant for ${field}: ${bytes.detail}`)
    const only = { code: 'constant_field', detail: 'the pipeline gives the field another value' }
    fallbacks[record.fields.findIndex(({ name }) => name === field)] = { bytes, only }
  }
  return fallbacks
}

/** Avro of a JSON text of one value, or what is wrong with it. */
function writeAlone(text: string, type: AvroType, writerOf: WriterOf): Buffer | Omit<ItemProblem, 'pointer'> {
  const cursor = jsonCursor
  const bytes = Buffer.from(text)
  cursor.reset(bytes, 0, bytes.length)
  if (writerOf(type)(cursor) && (cursor.at === cursor.end || cursor.syntax('the end'))) {
    return Buffer.from(cursor.out.subarray(0, cursor.pos))
  }
  return { code: cursor.code, detail: cursor.detail }
}

/** A header's text is a number or a truth value where the field is one, else a string. */
function headerWriter(
  header: string,
  type: AvroType,
  writerOf: WriterOf,
): (text: string) => Buffer | Omit<ItemProblem, 'pointer'> {
  const js = scalarOf(type)?.js ?? 'string'
  return (text) => {
    const bare = (js === 'number' && JSON_NUMBER.test(text)) || (js === 'boolean' && /^(?:true|false)$/.test(text))
    const written = writeAlone(bare ? text : JSON.stringify(text), type, writerOf)
    return Buffer.isBuffer(written) ? written : { ...written, detail: `the header ${header}: ${written.detail}` }
  }
}
