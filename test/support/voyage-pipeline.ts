import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import type { AvroSchema, CompiledPipeline, Scalar } from '../../schemas/pipeline/compiled.ts'
import { compilePipeline } from '../../schemas/pipeline/load.ts'

const TIME = { type: 'long', logicalType: 'timestamp-millis' }
const CABIN = { type: 'enum', name: 'Cabin', symbols: ['first', 'second', 'third'] }
const STOP = {
  type: 'record',
  name: 'Stop',
  fields: [
    { name: 'port', type: 'string' },
    { name: 'wait', type: ['null', 'long'] },
  ],
}
const field = (name: string, type: unknown, more: object = {}) => ({ name, type, ...more })
const record = (...fields: object[]): AvroSchema => ({ type: 'record', name: 'Voyage', fields })

const READER = record(
  field('id', 'string'),
  field('at', TIME),
  field('port', ['null', 'string'], { default: null }),
  field('km', 'double'),
  field('seats', ['null', 'int'], { default: null }),
  field('cabin', CABIN),
  field('late', 'boolean'),
  field('ratio', 'float'),
  field('count', 'long'),
  field('stops', { type: 'array', items: STOP }, { default: [] }),
  field('notes', { type: 'map', values: ['null', 'string', 'double'] }, { default: {} }),
  field('raw', 'bytes', { default: '' }),
  field('extra', 'int', { default: 7 }),
  field('kind', 'string', { default: 'liner' }),
  field('insured', ['null', 'boolean'], { default: null }),
)

/** Schemas that voyages are written with, and whether a decoder is made for them. */
export const WRITERS: readonly { readonly name: string; readonly schema: AvroSchema; readonly generated: boolean }[] = [
  { name: 'the same', schema: READER, generated: true },
  {
    name: 'in another order, with fields that nobody reads, and without those with a default',
    generated: true,
    schema: record(
      field('unread', { type: 'array', items: ['null', STOP] }),
      field('count', 'long'),
      field('big', 'long'),
      field('cabin', { type: 'enum', name: 'Cabin', symbols: ['third', 'first'] }),
      field('choice', ['string', 'int', 'bytes']),
      field('late', 'boolean'),
      field('at', 'long'),
      field('id', 'string'),
      field('km', 'double'),
      field('ratio', 'float'),
      field('deep', { type: 'map', values: { type: 'map', values: 'int' } }),
    ),
  },
  {
    name: 'with smaller types, and unions the other way round',
    generated: true,
    schema: record(
      field('id', ['string']),
      field('at', 'long'),
      field('port', ['string', 'null']),
      field('km', 'int'),
      field('seats', 'int'),
      field('cabin', CABIN),
      field('late', 'boolean'),
      field('ratio', 'long'),
      field('count', 'int'),
      field('kind', 'string'),
      field('insured', 'boolean'),
    ),
  },
  {
    name: 'with a float for a double',
    generated: true,
    schema: record(
      field('km', 'float'),
      field('ratio', 'int'),
      field('id', 'string'),
      field('at', TIME),
      field('cabin', CABIN),
      field('late', 'boolean'),
      field('count', 'long'),
    ),
  },
  {
    name: 'with nested types that differ',
    generated: false,
    schema: record(
      field('id', 'string'),
      field('at', TIME),
      field('km', 'double'),
      field('cabin', CABIN),
      field('late', 'boolean'),
      field('ratio', 'float'),
      field('count', 'long'),
      field('stops', {
        type: 'array',
        items: { type: 'record', name: 'Stop', fields: [...STOP.fields].reverse() },
      }),
    ),
  },
]

/** Every kind of feature, checks and a lookup, on every kind of field. */
export function voyages(segment: string): CompiledPipeline {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-voyages-'))
  writeFileSync(path.join(folder, 'event.avsc'), JSON.stringify(READER))
  const weather = {
    type: 'record',
    name: 'Weather',
    fields: [field('port', 'string'), field('hour', 'long'), field('at', TIME), field('wind', ['null', 'double'])],
  }
  writeFileSync(path.join(folder, 'weather.avsc'), JSON.stringify(weather))
  const derive = (fields: string[], compute: (...values: never[]) => Scalar | undefined, missing?: number) => ({
    kind: 'derive',
    fields,
    compute,
    ...(missing === undefined ? {} : { missing }),
  })
  const plain = (kind: string, name: string, more: object = {}) => ({ kind, field: name, ...more })
  const definition = {
    name: 'voyages',
    event: { schema: './event.avsc', id: 'id', time: 'at', segment },
    tables: { weather: { schema: './weather.avsc', key: ['port', 'hour'], time: 'at', maxAge: '3h' } },
    validate: [
      { kind: 'check', name: 'too_far', fields: ['km'], test: (km: number) => km < 1e30 },
      { kind: 'check', name: 'bad_port', fields: ['port', 'cabin'], test: (port: string | null) => port !== 'bad' },
    ],
    features: {
      km: plain('number', 'km'),
      seats: plain('number', 'seats', { missing: -1 }),
      cabin: plain('category', 'cabin', { values: ['third', 'first'] }),
      port: plain('category', 'port', { values: ['Wien', 'Köln', '', 'Ostende', 'bad'], unseen: -2, missing: -3 }),
      odd: plain('category', 'port', { values: ['\ufffd', 'Wien'] }),
      late: plain('flag', 'late'),
      insured: plain('flag', 'insured', { missing: 2 }),
      ratio: plain('number', 'ratio'),
      count: plain('number', 'count'),
      extra: plain('number', 'extra'),
      kind: plain('category', 'kind', { values: ['tug', 'liner'] }),
      length: derive(['port', 'kind'], (port: string | null, kind: string) => (port?.length ?? 0) + kind.length),
      maybe: derive(['seats'], (seats: number | null) => (seats === 4 ? undefined : seats), 9),
      picky: derive(['count', 'late'], (count: number, late: boolean) => {
        if (count === 13) throw new RangeError('13')
        return late ? count / 3 : -0
      }),
      wind: {
        kind: 'lookup',
        table: 'weather',
        column: 'wind',
        by: ['port', derive(['count'], (count: number) => (count === 5 ? Number.POSITIVE_INFINITY : count % 3))],
      },
    },
    model: { name: 'voyage', alias: 'production', output: { tensor: 'y' }, budget: '20ms' },
  }
  const pipeline = compilePipeline(folder, definition)
  rmSync(folder, { recursive: true })
  return pipeline
}

const text = fc.oneof(
  fc.constantFrom('Wien', 'Köln', '', 'bad', '\ufffd'),
  fc.string({ maxLength: 5, unit: 'grapheme' }),
)
const number = fc.oneof(fc.double(), fc.constantFrom(0, -0, 1e31, 1e-50, 3.5))

/** Records of a schema, often with values that mean something. */
export function recordsOf(type: unknown): fc.Arbitrary<unknown> {
  if (Array.isArray(type)) {
    const branches = type.map((branch) => recordsOf(branch))
    return fc.oneof(...branches)
  }
  const name = typeof type === 'string' ? type : (type as { readonly type: unknown }).type
  const of = type as Readonly<Record<string, unknown>>
  switch (name) {
    case 'null':
      return fc.constant(null)
    case 'boolean':
      return fc.boolean()
    case 'int':
      return fc.oneof(fc.integer(), fc.integer({ min: -5, max: 200 }))
    case 'long':
      return fc.oneof(
        fc.integer({ min: -2, max: 14 }),
        fc.maxSafeInteger(),
        fc.integer({ min: 0, max: 2 ** 41 }),
        fc.integer({ min: 2 ** 31, max: 4_100_000_000_000 }),
      )
    case 'float':
      return fc.oneof(fc.float(), fc.constantFrom(0, 0.5))
    case 'double':
      return number
    case 'string':
      return text
    case 'bytes':
      return fc.uint8Array({ maxLength: 5 }).map((array) => Buffer.from(array))
    case 'enum':
      return fc.constantFrom(...(of['symbols'] as string[]))
    case 'array':
      return fc.array(recordsOf(of['items']), { maxLength: 3 })
    case 'map':
      return fc.dictionary(text, recordsOf(of['values']), { maxKeys: 3 })
    case 'record': {
      const fields = of['fields'] as readonly { readonly name: string; readonly type: unknown }[]
      return fc.record(Object.fromEntries(fields.map((one) => [one.name, recordsOf(one.type)])))
    }
    default:
      return recordsOf(name)
  }
}
