import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { createEventReader } from '../../ingest/mapping/create-event-reader.ts'
import type { EventFormat, EventReader, ReadItem } from '../../ingest/mapping/event-reader.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { avroBodies } from '../support/avro-bodies.ts'

const SCHEMA_ID = 5
const OPTIONS = { idempotencyKey: null, headers: {}, maxEvents: 100 }

/** A type, and values of it: in JSON, and as the library takes them. */
interface Sample {
  readonly type: unknown
  /** The JSON kinds that its values have, so that a union can be made of types that nobody takes for each other. */
  readonly kinds: readonly string[]
  readonly value: fc.Arbitrary<{ readonly json: string; readonly plain: unknown }>
}

const said = (json: string, plain: unknown) => ({ json, plain })
const text = fc.string({ unit: 'grapheme', maxLength: 80 })
const long = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.integer().map(BigInt))
const spelled = (value: bigint): fc.Arbitrary<string> =>
  fc.constantFrom(`${value}`, `"${value}"`, `${value}.0`, value === 0n ? '0e9' : `${value}0e-1`, `${value}.00E+00`)
const plainLong = (value: bigint): number | bigint => {
  const near = Number(value)
  return Number.isSafeInteger(near) ? near : value
}
/** Every character may be written as an escape. */
const quoted = (value: string): fc.Arbitrary<string> =>
  fc.constantFrom(
    JSON.stringify(value),
    `"${Array.from({ length: value.length }, (_, at) => `\\u${value.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')}"`,
  )
const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array))
const float = fc.float({ noNaN: true, noDefaultInfinity: true })
const double = fc.double({ noNaN: true, noDefaultInfinity: true })
const number = (value: number): string => (Object.is(value, -0) ? '-0' : JSON.stringify(value))

const scalars: readonly Sample[] = [
  { type: 'null', kinds: ['null'], value: fc.constant(said('null', null)) },
  { type: 'boolean', kinds: ['boolean'], value: fc.boolean().map((value) => said(`${value}`, value)) },
  { type: 'int', kinds: ['number'], value: fc.integer().map((value) => said(`${value}`, value)) },
  {
    type: 'long',
    kinds: ['number', 'string'],
    value: long.chain((value) => spelled(value).map((json) => said(json, plainLong(value)))),
  },
  { type: 'float', kinds: ['number'], value: float.map((value) => said(number(value), value)) },
  { type: 'double', kinds: ['number'], value: double.map((value) => said(number(value), value)) },
  {
    type: 'string',
    kinds: ['string'],
    value: text.chain((value) => quoted(value).map((json) => said(json, value))),
  },
  { type: 'bytes', kinds: ['string'], value: bytes.map((value) => said(`"${value.toString('base64')}"`, value)) },
  {
    type: { type: 'long', logicalType: 'timestamp-millis' },
    kinds: ['number', 'string'],
    value: fc
      .tuple(
        fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }),
        fc.boolean(),
      )
      .map(([date, words]) => said(words ? `"${date.toISOString()}"` : `${date.getTime()}`, date.getTime())),
  },
]
const named: readonly ((name: string) => Sample)[] = [
  (name) => ({
    type: { type: 'enum', name, symbols: ['one', 'two', 'three'] },
    kinds: ['string'],
    value: fc.constantFrom('one', 'two', 'three').map((value) => said(`"${value}"`, value)),
  }),
  (name) => ({
    type: { type: 'fixed', name, size: 3 },
    kinds: ['string'],
    value: fc.uint8Array({ minLength: 3, maxLength: 3 }).map((array) => {
      const value = Buffer.from(array)
      return said(`"${value.toString('base64')}"`, value)
    }),
  }),
]

let names = 0
const typeName = (): string => `T${++names}`
const space = fc.constantFrom('', '', ' ', '\n\t')

function sampleOf(depth: number): fc.Arbitrary<Sample> {
  const leaf = fc.oneof(
    fc.constantFrom(...scalars),
    fc.constantFrom(...named).map((make) => make(typeName())),
  )
  if (depth === 0) return leaf
  const inner = sampleOf(depth - 1)
  return fc.oneof(
    { weight: 3, arbitrary: leaf },
    { weight: 1, arbitrary: inner.map(arrayOf) },
    { weight: 1, arbitrary: inner.map(mapOf) },
    { weight: 1, arbitrary: fc.array(inner, { minLength: 1, maxLength: 4 }).map(recordOf) },
    { weight: 2, arbitrary: fc.array(leaf, { minLength: 1, maxLength: 5 }).map(unionOf) },
  )
}

function arrayOf({ type, value }: Sample): Sample {
  const many = fc.oneof(
    { weight: 8, arbitrary: fc.array(value, { maxLength: 4 }) },
    { weight: 1, arbitrary: fc.array(value, { minLength: 64, maxLength: 66 }) },
  )
  const items = isEmpty(type) ? fc.array(value, { maxLength: 1 }) : many
  return {
    type: { type: 'array', items: type },
    kinds: ['array'],
    value: fc.tuple(items, space).map(([list, gap]) =>
      said(
        `[${gap}${list.map(({ json }) => json).join(`${gap},${gap}`)}${gap}]`,
        list.map(({ plain }) => plain),
      ),
    ),
  }
}

/** Of values without bytes an array may have one. */
function isEmpty(type: unknown): boolean {
  const { fields } = type as { readonly fields?: readonly { readonly type: unknown }[] }
  return type === 'null' || (fields?.every((field) => isEmpty(field.type)) ?? false)
}

function mapOf({ type, value }: Sample): Sample {
  return {
    type: { type: 'map', values: type },
    kinds: ['object'],
    value: fc.uniqueArray(fc.tuple(text, value), { maxLength: 4, selector: ([key]) => key }).map((entries) => {
      // Numbers as keys would come first in an object: the library writes what it is given.
      const kept = entries.filter(([key]) => key === '' || !/^\d+$/.test(key))
      return said(
        `{${kept.map(([key, { json }]) => `${JSON.stringify(key)}:${json}`).join(',')}}`,
        Object.fromEntries(kept.map(([key, { plain }]) => [key, plain])),
      )
    }),
  }
}

function recordOf(samples: readonly Sample[]): Sample {
  const fields = samples.map((sample, index) => ({ name: `f${index}`, sample }))
  const members = fc.tuple(...fields.map(({ name, sample }) => sample.value.map((value) => ({ name, value }))))
  const order = fc.array(fc.nat(), { minLength: fields.length, maxLength: fields.length })
  return {
    type: { type: 'record', name: typeName(), fields: fields.map(({ name, sample }) => ({ name, type: sample.type })) },
    kinds: ['object'],
    value: fc.tuple(members, order, space).map(([list, ranks, gap]) => {
      const shuffled = list.map((member, index) => ({ ...member, rank: ranks[index] ?? 0 }))
      shuffled.sort((a, b) => a.rank - b.rank)
      return said(
        `{${shuffled.map(({ name, value }) => `${gap}"${name}"${gap}:${gap}${value.json}${gap}`).join(',')}}`,
        Object.fromEntries(list.map(({ name, value }) => [name, value.plain])),
      )
    }),
  }
}

/** Of types whose values nobody takes for each other: each stands bare. */
function unionOf(samples: readonly Sample[]): Sample {
  const taken = new Set<string>()
  const branches = samples.filter(({ kinds }) => {
    if (kinds.some((kind) => taken.has(kind))) return false
    for (const kind of kinds) taken.add(kind)
    return true
  })
  return {
    type: branches.map(({ type }) => type),
    kinds: [...taken],
    value: fc.oneof(...branches.map(({ value }) => value)),
  }
}

const eventOf = fc.array(sampleOf(2), { minLength: 1, maxLength: 6 }).map((samples) => {
  const id = { type: 'string', kinds: ['string'], value: fc.constant(said('"some id"', 'some id')) }
  return recordOf([id, ...samples])
})

function readerOf(type: unknown): EventReader {
  return createEventReader({
    schema: type as AvroSchema,
    schemaId: SCHEMA_ID,
    idField: 'f0',
    keyField: null,
    mapping: null,
  })
}

test('any record of any schema becomes the very bytes that the Avro library makes of it', () => {
  const sample = eventOf.chain(({ type, value }) =>
    fc.array(value, { maxLength: 3 }).map((values) => ({ type, values })),
  )
  fc.assert(
    fc.property(sample, ({ type, values }) => {
      const codec = parseAvroSchema(type as AvroSchema, 'event')
      const reader = readerOf(type)
      const body = Buffer.from(`[${values.map(({ json }) => json).join(',')}]`)
      const { items } = reader.read(body, 'json', OPTIONS)
      expect(items.length).toBe(values.length)
      for (const [index, { plain }] of values.entries()) {
        const item = items[index] as ReadItem
        if (!item.ok) throw new Error(JSON.stringify(item.problem))
        expect(item.value.equals(codec.encode(SCHEMA_ID, plain))).toBe(true)
      }
    }),
    { numRuns: 200 },
  )
})

const piece = fc.oneof(
  fc.constantFrom(
    '"',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '\\',
    '\\ud800',
    '\\u0061',
    '-',
    '1e999',
    '.5',
    'null',
    'true',
    '\0',
  ),
  fc.constantFrom('"f0":"x",', '"__proto__":{},', '{"string":', '99999999999999999999', '\n', '\ufeff'),
)
const mutation = fc.record({ at: fc.nat(), cut: fc.nat({ max: 6 }), put: fc.oneof(fc.constant(''), piece) })

test('a damaged body is refused with its place, or read as something that the Avro library reads as well', () => {
  const sample = eventOf.chain(({ type, value }) =>
    fc.tuple(fc.constant(type), value, fc.array(mutation, { maxLength: 4 })),
  )
  fc.assert(
    fc.property(
      sample,
      fc.constantFrom('json' as const, 'ndjson' as const),
      fc.boolean(),
      ([type, whole, mutations], format, raw) => {
        let body: Buffer<ArrayBufferLike> = Buffer.from(`[${whole.json},${whole.json}]`)
        if (format === 'ndjson') body = Buffer.from(`${whole.json.replaceAll('\n', ' ')}\n`.repeat(2))
        for (const { at, cut, put } of mutations) {
          const start = at % (body.length + 1)
          const between = raw && put === '' ? Buffer.from([at & 0xff]) : Buffer.from(put)
          body = Buffer.concat([body.subarray(0, start), between, body.subarray(start + cut)])
        }
        const codec = parseAvroSchema(type as AvroSchema, 'event')
        for (const item of itemsOf(readerOf(type), body, format)) {
          if (item.ok) codec.readerOf(codec)(item.value)
          else expect(item.problem).toMatchObject({ code: expect.stringMatching(/^[a-z0-9_]+$/), pointer: POINTER })
        }
      },
    ),
    { numRuns: 600 },
  )
})

/** Of the last bytes, as a container file begins with its schema. */
const patch = fc.record({ back: fc.nat(), cut: fc.nat({ max: 4 }), put: fc.uint8Array({ maxLength: 4 }) })
const POINTER = expect.stringMatching(/^(\/([^~/]|~[01])*)*$/s)

test('a damaged Avro file is refused, or its records are what the Avro library reads as well', () => {
  const sample = eventOf.chain(({ type, value }) =>
    fc.tuple(fc.constant(type), fc.array(value, { minLength: 1, maxLength: 3 }), fc.array(patch, { maxLength: 3 })),
  )
  fc.assert(
    fc.property(sample, fc.boolean(), ([type, values, patches], single) => {
      const { singleObject, container } = avroBodies(type as AvroSchema)
      const records = values.map(({ plain }) => plain)
      let body: Buffer<ArrayBufferLike> = single ? singleObject(records[0]) : container(records)
      for (const { back, cut, put } of patches) {
        const at = Math.max(0, body.length - 1 - (back % 200))
        body = Buffer.concat([body.subarray(0, at), put, body.subarray(at + cut)])
      }
      const codec = parseAvroSchema(type as AvroSchema, 'event')
      const items = itemsOf(readerOf(type), body, single ? 'avro' : 'avro-container')
      if (patches.length === 0) expect(items.map(({ ok }) => ok)).toEqual(single ? [true] : records.map(() => true))
      for (const item of items) {
        if (item.ok) codec.readerOf(codec)(item.value)
        else expect(item.problem).toMatchObject({ code: expect.stringMatching(/^[a-z0-9_]+$/), pointer: POINTER })
      }
    }),
    { numRuns: 400 },
  )
})

function itemsOf(reader: EventReader, body: Buffer, format: EventFormat): readonly ReadItem[] {
  try {
    return reader.read(body, format, OPTIONS).items
  } catch (error) {
    expect(error).toMatchObject({
      fate: 'reject',
      code: expect.stringMatching(/^(invalid_body|too_large|too_many_events)$/),
    })
    return []
  }
}
