import { deflateRawSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { writeLong } from '../../infra/runtime/avro/avro-bytes.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { fingerprintOf } from '../../ingest/mapping/avro/fingerprint.ts'
import { createEventReader } from '../../ingest/mapping/create-event-reader.ts'
import type { EventFormat, ReadItem } from '../../ingest/mapping/event-reader.ts'
import { parseRecordSchema } from '../../schemas/pipeline/avro-schema.ts'
import type { AvroSchema, CompiledHttpMapping } from '../../schemas/pipeline/compiled.ts'

const SCHEMA: AvroSchema = {
  type: 'record',
  name: 'Trip',
  namespace: 'a.b',
  doc: 'not in the canonical form',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'n', type: ['null', 'long'], default: null },
    { name: 'cabin', type: { type: 'enum', name: 'Cabin', symbols: ['first', 'second'] }, default: 'first' },
    { name: 'stops', type: { type: 'array', items: 'int' }, default: [] },
    { name: 'notes', type: { type: 'map', values: 'string' }, default: {} },
    { name: 'late', type: 'boolean', default: false },
    { name: 'raw', type: { type: 'fixed', name: 'Raw', size: 2 }, default: '\u0000\u00ff' },
  ],
}
const TRIP = { id: 't', n: 5, cabin: 'second', stops: [1, 2], notes: { a: 'b' }, late: true, raw: Buffer.alloc(2) }
const WIRE_HEADER_BYTES = 5
const codec = parseAvroSchema(SCHEMA, 'trip')
const decode = codec.readerOf(codec)
const bytesOf = (record: unknown): Buffer => codec.encode(0, record).subarray(WIRE_HEADER_BYTES)
const fingerprint = fingerprintOf(parseRecordSchema(SCHEMA))
const single = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([0xc3, 1]), fingerprint, bytes])

function read(
  body: Buffer,
  format: EventFormat,
  more: {
    readonly mapping?: CompiledHttpMapping
    readonly key?: string
    readonly headers?: Record<string, string>
  } = {},
): readonly ReadItem[] {
  const mapping = more.mapping ?? null
  const reader = createEventReader({ schema: SCHEMA, schemaId: 9, idField: 'id', keyField: 'n', mapping })
  return reader.read(body, format, { idempotencyKey: more.key ?? null, headers: more.headers ?? {}, maxEvents: 4 })
    .items
}

const ended = (item: ReadItem | undefined): unknown =>
  item?.ok ? { ...(decode(item.value) as object) } : item?.problem.code

/** Zigzag varints. */
const longs = (...values: readonly number[]): Buffer =>
  Buffer.concat(
    values.map((value) => {
      const target = Buffer.alloc(10)
      return target.subarray(0, writeLong(target, 0, value))
    }),
  )
const sync = Buffer.alloc(16, 7)

function container(
  schema: unknown,
  blocks: readonly (readonly [count: number, bytes: Buffer])[],
  codecName = 'null',
  more: Readonly<Record<string, Buffer>> = {},
): Buffer {
  const meta = parseAvroSchema({ type: 'map', values: 'bytes' }, 'meta').native.toBuffer({
    'avro.schema': Buffer.from(typeof schema === 'string' ? schema : JSON.stringify(schema)),
    'avro.codec': Buffer.from(codecName),
    ...more,
  })
  const written = blocks.map(([count, bytes]) => {
    const packed = codecName === 'deflate' ? deflateRawSync(bytes) : bytes
    return Buffer.concat([longs(count, packed.length), packed, sync])
  })
  return Buffer.concat([Buffer.from('Obj\u0001'), meta, sync, ...written])
}

test('fingerprints are those of the specification', () => {
  // the one that Avro's own tests have of the schema "null"
  expect(crcOf('"null"')).toBe('63dd24e7cc258f8a')
  const item = {
    type: 'record',
    name: 'Item',
    fields: [{ name: 'x', type: { type: 'bytes', logicalType: 'decimal' } }],
  }
  const record = parseRecordSchema({
    fields: [
      { name: 'a', type: { type: 'long', logicalType: 'timestamp-millis' }, default: 42, doc: 'when' },
      { name: 'b', type: ['null', item] },
      { name: 'c', type: { items: 'Item', type: 'array' } },
    ],
    aliases: ['before'],
    namespace: 'org.x',
    name: 'test',
    type: 'record',
  })
  const canonical =
    '{"name":"org.x.test","type":"record","fields":[{"name":"a","type":"long"},{"name":"b","type":["null",' +
    '{"name":"org.x.Item","type":"record","fields":[{"name":"x","type":"bytes"}]}]},' +
    '{"name":"c","type":{"type":"array","items":"org.x.Item"}}]}'
  expect(fingerprintOf(record).readBigUInt64LE().toString(16)).toBe(crcOf(canonical))
})

/** CRC-64-AVRO, bit by bit. */
function crcOf(text: string): string {
  let crc = 0xc15d213aa4d7a795n
  for (const byte of Buffer.from(text)) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0xc15d213aa4d7a795n : crc >> 1n
  }
  return crc.toString(16)
}

test('a record in single-object encoding is taken as it is', () => {
  const [item] = read(single(bytesOf(TRIP)), 'avro')
  expect(item).toEqual({ ok: true, id: 't', key: '5', value: codec.encode(9, TRIP) })
  const [large] = read(single(bytesOf({ ...TRIP, n: 9007199254740993n })), 'avro')
  expect(large).toMatchObject({ ok: true, key: '9007199254740993' })
  const [nameless] = read(single(bytesOf({ ...TRIP, id: '' })), 'avro', { key: 'k' })
  expect(ended(nameless)).toEqual({ ...TRIP, id: 'k' })
  expect(read(single(bytesOf(TRIP)), 'avro', { key: 'k' }).map(ended)).toEqual(['idempotency_key_mismatch'])
})

test.each([
  [
    'another fingerprint',
    Buffer.concat([Buffer.from([0xc3, 1]), Buffer.alloc(8), bytesOf(TRIP)]),
    'unknown_fingerprint',
  ],
  ['a record that is cut off', single(bytesOf(TRIP).subarray(0, -1)), 'invalid_avro'],
  ['a byte too many', single(Buffer.concat([bytesOf(TRIP), Buffer.alloc(1)])), 'invalid_avro'],
  [
    'a type that the union lacks',
    single(Buffer.concat([Buffer.from('\u0002t\u0004'), Buffer.alloc(9)])),
    'invalid_avro',
  ],
  [
    'a symbol that the enum lacks',
    single(Buffer.concat([Buffer.from('\u0002t\u0000\u0004'), Buffer.alloc(5)])),
    'invalid_value',
  ],
  ['a string that is not UTF-8', single(Buffer.concat([Buffer.from([2, 0xff]), Buffer.alloc(7)])), 'invalid_utf8'],
  [
    'more items than bytes',
    single(Buffer.concat([Buffer.from('\u0002t\u0000\u0000'), longs(1e9), Buffer.alloc(4)])),
    'invalid_avro',
  ],
  [
    'a truth value that is none',
    single(Buffer.concat([Buffer.from('\u0002t\u0000\u0000\u0000\u0000\u0002'), Buffer.alloc(2)])),
    'invalid_value',
  ],
])('%s is refused', (_, body, code) => {
  expect(read(body, 'avro').map(ended)).toEqual([code])
})

test('what does not begin as it should is no body of that format', () => {
  for (const [body, format] of [
    [Buffer.from('{}'), 'avro'],
    [Buffer.alloc(0), 'avro'],
    [Buffer.from('{}'), 'avro-container'],
    [Buffer.from('Obj\u0001'), 'avro-container'],
    [container('{"type":', []), 'avro-container'],
    [container(`${'{"type":'.repeat(8_000)}"int"${'}'.repeat(8_000)}`, []), 'avro-container'],
    [container({ type: 'record', name: 'Other', fields: [{ name: 'x', type: 'int' }] }, []), 'avro-container'],
    [container(SCHEMA, [[1, bytesOf(TRIP)]], 'snappy'), 'avro-container'],
    [container(SCHEMA, [[2, bytesOf(TRIP)]]), 'avro-container'],
    [container(SCHEMA, [[1, Buffer.concat([bytesOf(TRIP), Buffer.alloc(1)])]]), 'avro-container'],
    [container(SCHEMA, [[1, bytesOf(TRIP)]]).subarray(0, -1), 'avro-container'],
    [container(SCHEMA, [[1, Buffer.alloc(20_000_000)]], 'deflate'), 'avro-container'],
  ] as const) {
    expect(() => read(body, format)).toThrow(expect.objectContaining({ code: 'invalid_body', fate: 'reject' }))
  }
})

test.each(['null', 'deflate'])('a container file with codec %s', (codecName) => {
  const bad = Buffer.concat([Buffer.from('\u0002b\u0000\u0004'), Buffer.alloc(5)])
  const blocks = [
    [2, Buffer.concat([bytesOf(TRIP), bad])],
    [1, bytesOf({ ...TRIP, id: 'u' })],
  ] as const
  expect(read(container(SCHEMA, blocks, codecName), 'avro-container').map(ended)).toEqual([
    { ...TRIP },
    'invalid_value',
    { ...TRIP, id: 'u' },
  ])
  const many = [[5, Buffer.concat([TRIP, TRIP, TRIP, TRIP, TRIP].map(bytesOf))]] as const
  expect(() => read(container(SCHEMA, many, codecName), 'avro-container')).toThrow(
    expect.objectContaining({ code: 'too_many_events' }),
  )
})

test('a container file of another schema is resolved to the event, each record for itself', () => {
  const schema = {
    type: 'record',
    name: 'a.b.Trip',
    fields: [
      { name: 'n', type: ['null', 'long'] },
      { name: 'more', type: 'string' },
      { name: 'id', type: 'string' },
      { name: 'cabin', type: { type: 'enum', name: 'Cabin', symbols: ['second', 'first'] } },
    ],
  }
  const writer = parseAvroSchema(schema, 'writer')
  const records = [
    { n: 9007199254740993n, more: 'x', id: 'a', cabin: 'first' },
    { n: null, more: 'x', id: 'b', cabin: 'second' },
  ]
  const bytes = Buffer.concat(records.map((record) => writer.encode(0, record).subarray(WIRE_HEADER_BYTES)))
  const items = read(container(schema, [[2, bytes]]), 'avro-container')
  const rest = { stops: [], notes: {}, late: false, raw: Buffer.from([0, 0xff]) }
  expect(items.map(ended)).toEqual([
    { id: 'a', n: 9007199254740993n, cabin: 'first', ...rest },
    { id: 'b', n: null, cabin: 'second', ...rest },
  ])
})

test('a fixed value, and one from a header, must be what the record has', () => {
  const mapping: CompiledHttpMapping = {
    rename: [],
    drop: [],
    constants: [{ field: 'late', value: true }],
    headers: [{ header: 'x-n', field: 'n' }],
  }
  const one = (record: object, headers = {}): unknown =>
    ended(read(single(bytesOf(record)), 'avro', { mapping, headers })[0])
  expect(one(TRIP)).toEqual(TRIP)
  expect(one(TRIP, { 'x-n': '5' })).toEqual(TRIP)
  expect(one({ ...TRIP, late: false })).toBe('constant_field')
  expect(one(TRIP, { 'x-n': '6' })).toBe('header_field')
})

const field = (name: string, type: unknown) => ({ name, type })
/** An event's schema with one field more. */
const with1 = (type: unknown) => ({
  type: 'record',
  name: 'a.b.Trip',
  fields: [field('id', 'string'), field('z', type)],
})
const refusal = (code: string) => expect.objectContaining({ code, fate: 'reject' })

/** A record whose values have no bytes, 4 times as many of them with every level. */
function tree(levels: number): unknown {
  let inner: unknown = { type: 'record', name: 'R0', fields: [field('a', 'null')] }
  for (let level = 1; level <= levels; level++) {
    const again = ['b', 'c', 'd'].map((name) => field(name, `R${level - 1}`))
    inner = { type: 'record', name: `R${level}`, fields: [field('a', inner), ...again] }
  }
  return inner
}

test('values without bytes are not free: a few bytes would be work for ever', () => {
  const id = Buffer.from('\u0002t')
  const zeros = Buffer.concat([id, longs(500_000), Buffer.alloc(1_000_001)])
  const readOne = (type: unknown, bytes: Buffer) =>
    read(container(with1(type), [[1, bytes]]), 'avro-container').map(ended)
  expect(readOne(tree(3), id)).toMatchObject([{ id: 't' }])
  expect(() => readOne(tree(6), id)).toThrow(refusal('too_large'))
  expect(() => readOne(tree(25), id)).toThrow(refusal('too_large'))
  // each block says that there are as many as bytes follow
  const nulls = Buffer.concat([id, ...Array.from({ length: 1_000 }, () => longs(1_000)), Buffer.alloc(1_001)])
  expect(() => readOne({ type: 'array', items: 'null' }, nulls)).toThrow(refusal('too_large'))
  expect(readOne({ type: 'array', items: 'boolean' }, zeros.subarray(0, -500_000))).toMatchObject([{ id: 't' }])
  const million = Buffer.concat([id, longs(1_000_001), Buffer.alloc(1_000_002)])
  expect(() => readOne({ type: 'array', items: 'boolean' }, million)).toThrow(refusal('too_large'))
})

test('what a file says of its schema is little work, and its defaults are not looked at', () => {
  const id = Buffer.from('\u0002t')
  const readOne = (schema: object, bytes: Buffer) => read(container(schema, [[1, bytes]]), 'avro-container').map(ended)
  const schema = with1('int')
  const [first, second] = schema.fields
  const odd = { ...schema, fields: [first, { ...second, default: 'no int' }] }
  expect(readOne(odd, Buffer.concat([id, longs(1)]))).toMatchObject([{ id: 't' }])
  const records = Array.from({ length: 150 }, (_, index) =>
    field(`f${index}`, { type: 'record', name: `R${index}`, fields: [field('a', 'int')] }),
  )
  const bytes = Buffer.concat([id, Buffer.alloc(150)])
  const someTypes = { ...schema, fields: [first, ...records.slice(0, 50)] }
  expect(readOne(someTypes, bytes.subarray(0, 52))).toMatchObject([{ id: 't' }])
  expect(() => readOne({ ...schema, fields: [first, ...records] }, bytes)).toThrow(refusal('invalid_body'))
})

test('a container file has no empty blocks, no more blocks than events, and few names in its header', () => {
  const trip = bytesOf(TRIP)
  for (const codecName of ['null', 'deflate']) {
    const file = container(SCHEMA, [[0, Buffer.alloc(0)]], codecName)
    expect(() => read(file, 'avro-container')).toThrow(refusal('invalid_body'))
  }
  const counted = container(SCHEMA, [
    [3, Buffer.concat([trip, trip, trip])],
    [2, Buffer.alloc(1)],
  ])
  // what is too many is not looked into
  expect(() => read(counted, 'avro-container')).toThrow(refusal('too_many_events'))
  const names = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`n${index}`, Buffer.alloc(0)]))
  expect(() => read(container(SCHEMA, [[1, trip]], 'null', names), 'avro-container')).toThrow(refusal('invalid_body'))
  const two = Object.fromEntries(Object.entries(names).slice(0, 2))
  expect(read(container(SCHEMA, [[1, trip]], 'null', two), 'avro-container').map(ended)).toEqual([TRIP])
})
