import { type AvroType as AvroCodec, parseAvroSchema } from '../../../infra/runtime/avro/avro-type.ts'
import { WIRE_HEADER_BYTES } from '../../../infra/runtime/avro/wire-format.ts'
import { fateOf, MillraceError, rejected } from '../../../infra/runtime/errors.ts'
import { type AvroRecord, AvroSchemaError, parseRecordSchema } from '../../../schemas/pipeline/avro-schema.ts'
import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { type Assemble, type EventFacts, refused } from '../assemble.ts'
import type { ReadItem } from '../event-reader.ts'
import { MAX_RECORD_VALUES, VALUES_PER_BYTE, VALUES_PER_RECORD } from '../limits.ts'
import { readContainer } from './container.ts'
import { canonicalForm, fingerprintOf } from './fingerprint.ts'
import { AvroWalk, compileWalk, type Pass } from './walk.ts'

const MARKER = Buffer.from([0xc3, 0x01])
const FINGERPRINT_BYTES = 8
const MAX_SCHEMA_CHARACTERS = 65_536
/** Records, enums and fixeds of a writer schema that is not the event's: each is code that is made when it comes first. */
const MAX_WRITER_TYPES = 100
/** Writer schemas that are kept compiled. */
const MAX_WRITERS = 16
const TOO_MANY_VALUES = 'an event may not have so many values'

export interface AvroBodies {
  /** One record in single-object encoding. */
  single(body: Buffer, facts: EventFacts): ReadItem
  /** The records of a container file. Throws `invalid_body`, `too_many_events` or `too_large` (reject). */
  container(body: Buffer, maxEvents: number, facts: (index: number) => EventFacts): readonly ReadItem[]
}

interface Writer {
  readonly passes: readonly Pass[]
  /** The record in the event's own schema; null = it is in that already. */
  readonly resolve: ((bytes: Buffer) => Buffer) | null
}

export function createAvroBodies(schema: AvroSchema, record: AvroRecord, assemble: Assemble): AvroBodies {
  const own: Writer = { passes: compileWalk(record), resolve: null }
  const names = record.fields.map(({ name }) => name)
  const form = canonicalForm(record)
  const fingerprint = fingerprintOf(record)
  const starts = new Int32Array(names.length)
  const ends = new Int32Array(names.length)
  const writers = new Map<string, Writer>()
  let codec: AvroCodec | null = null

  /** Reads the fields that begin at the walk as those of an event; null = they do not lie there. */
  function readOwn(walk: AvroWalk, facts: EventFacts): ReadItem | null {
    walk.code = ''
    walk.depth = 1
    let field = ''
    for (const [slot, pass] of own.passes.entries()) {
      starts[slot] = walk.at
      if (!pass(walk)) return null
      ends[slot] = walk.at
      if (walk.code !== '' && field === '') field = names[slot] as string
    }
    if (walk.code !== '') return refused(field, walk.code, walk.detail)
    for (const [slot, fallback] of facts.fallbacks.entries()) {
      const only = fallback?.only ?? null
      if (fallback === null || only === null) continue
      if (!walk.bytes.subarray(starts[slot], ends[slot]).equals(fallback.bytes)) {
        return refused(names[slot] as string, only.code, only.detail)
      }
    }
    return assemble({ source: walk.bytes, starts, ends, inOrder: true }, facts)
  }

  function writerOf(text: string): Writer {
    const known = writers.get(text)
    if (known !== undefined) return known
    const written = parseWriter(text)
    let writer = own
    const writtenForm = canonicalForm(written)
    if (writtenForm !== form) {
      const types = writtenForm.match(/"type":"(?:record|enum|fixed)"/g)?.length ?? 0
      if (types > MAX_WRITER_TYPES) throw rejected('invalid_body', "the file's schema has too many types")
      codec ??= parseAvroSchema(schema, 'the event')
      // not the schema itself: to check the defaults that it may have would take as long as whoever sent it likes
      writer = { passes: compileWalk(written), resolve: resolver(codec, writtenForm) }
    }
    if (writers.size >= MAX_WRITERS) writers.clear()
    writers.set(text, writer)
    return writer
  }

  function readResolved(walk: AvroWalk, writer: Writer, facts: EventFacts): ReadItem | null {
    const { resolve } = writer
    if (resolve === null) return readOwn(walk, facts)
    const start = walk.at
    walk.code = ''
    walk.depth = 1
    if (!writer.passes.every((pass) => pass(walk))) return null
    if (walk.code !== '') return refused(null, walk.code, walk.detail)
    let bytes: Buffer
    try {
      bytes = resolve(walk.bytes.subarray(start, walk.at))
    } catch (error) {
      if (error instanceof MillraceError && fateOf(error) === 'crash') throw error
      return refused(null, 'unreadable_record', (error as Error).message)
    }
    return readOwn(walkOf(bytes, WIRE_HEADER_BYTES), facts) ?? refused(null, 'invalid_avro', 'the record is cut off')
  }

  return {
    single(body, facts) {
      const start = MARKER.length + FINGERPRINT_BYTES
      if (body.length < start || !body.subarray(0, MARKER.length).equals(MARKER)) {
        throw rejected(
          'invalid_body',
          'this is not Avro in single-object encoding: it begins with C3 01 and a fingerprint',
        )
      }
      if (!body.subarray(MARKER.length, start).equals(fingerprint)) {
        const text = `schemas are told by CRC-64-AVRO: the event's is ${fingerprint.toString('hex')}`
        return refused(null, 'unknown_fingerprint', text)
      }
      const walk = walkOf(body, start)
      const item = readOwn(walk, facts)
      if (walk.values < 0) return refused(null, 'too_large', TOO_MANY_VALUES)
      if (item === null) return refused(null, 'invalid_avro', 'the record is cut off, or no record of its schema')
      if (walk.at === body.length) return item
      return refused(null, 'invalid_avro', `${body.length - walk.at} bytes follow the record`)
    },
    container(body, maxEvents, factsOf) {
      const { schema: text, blocks } = readContainer(body, maxEvents)
      const writer = writerOf(text)
      const items: ReadItem[] = []
      let values = 0
      for (const { count, bytes } of blocks) values += bytes.length * VALUES_PER_BYTE + count * VALUES_PER_RECORD
      for (const { count, bytes } of blocks) {
        const walk = walkOf(bytes, 0)
        for (let left = count; left > 0; left--) {
          const allowed = Math.min(values, MAX_RECORD_VALUES)
          walk.values = allowed
          const item = readResolved(walk, writer, factsOf(items.length))
          if (walk.values < 0) throw rejected('too_large', `record ${items.length}: ${TOO_MANY_VALUES}`)
          if (item === null) throw rejected('invalid_body', `record ${items.length} is none of the file's schema`)
          values -= allowed - walk.values
          items.push(item)
        }
        if (walk.at !== bytes.length) throw rejected('invalid_body', 'bytes follow the records of a block')
      }
      return items
    },
  }
}

function walkOf(bytes: Buffer, at: number): AvroWalk {
  const walk = new AvroWalk()
  walk.bytes = bytes
  walk.at = at
  walk.end = bytes.length
  walk.values = MAX_RECORD_VALUES
  return walk
}

/** A schema that came with a request: whatever is wrong with it is about the request. */
function parseWriter(text: string): AvroRecord {
  if (text.length > MAX_SCHEMA_CHARACTERS) throw rejected('invalid_body', "the file's schema is too long")
  try {
    return parseRecordSchema(JSON.parse(text))
  } catch (error) {
    // RangeError: it is too deep
    if (error instanceof SyntaxError || error instanceof AvroSchemaError || error instanceof RangeError) {
      throw rejected('invalid_body', `the file's schema is none: ${error.message}`, error)
    }
    throw error
  }
}

function resolver(event: AvroCodec, writer: string): (bytes: Buffer) => Buffer {
  let read: (value: Buffer) => unknown
  try {
    read = event.readerOf(parseAvroSchema(writer, "the file's schema"))
  } catch (error) {
    throw rejected('invalid_body', `the file's schema does not fit the event: ${(error as Error).message}`, error)
  }
  const header = Buffer.alloc(WIRE_HEADER_BYTES)
  return (bytes) => event.encode(0, read(Buffer.concat([header, bytes])))
}
