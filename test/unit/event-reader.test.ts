import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { createEventReader, type EventReaderOptions } from '../../ingest/mapping/create-event-reader.ts'
import type { EventFormat, ItemProblem, ReadItem, ReadOptions } from '../../ingest/mapping/event-reader.ts'
import type { AvroSchema, CompiledHttpMapping } from '../../schemas/pipeline/compiled.ts'
import { FLIGHTS } from '../support/pipeline-copy.ts'

const MILLIS = { type: 'long', logicalType: 'timestamp-millis' }
const SCHEMA: AvroSchema = {
  type: 'record',
  name: 'Reading',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'device', type: ['null', 'string'], default: null },
    { name: 'serial', type: ['null', 'long'], default: null },
    { name: 'celsius', type: 'double', default: 20 },
    { name: 'source', type: 'string', default: '' },
    { name: 'at', type: MILLIS, default: 1 },
    { name: 'ok', type: 'boolean', default: true },
  ],
}
const DEFAULTS = { id: 'a', device: null, serial: null, celsius: 20, source: '', at: 1, ok: true }
const codec = parseAvroSchema(SCHEMA, 'reading')
const decode = codec.readerOf(codec)
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const NOTHING: CompiledHttpMapping = { rename: [], constants: [], drop: [], headers: [] }

function read(
  body: string | Buffer,
  how: Partial<ReadOptions & EventReaderOptions> & { readonly format?: EventFormat } = {},
): { readonly several: boolean; readonly items: readonly ReadItem[] } {
  const reader = createEventReader({
    schema: SCHEMA,
    schemaId: 9,
    idField: 'id',
    keyField: how.keyField ?? null,
    mapping: how.mapping ?? null,
    idRequired: how.idRequired ?? false,
  })
  const { idempotencyKey = null, headers = {}, maxEvents = 10 } = how
  return reader.read(Buffer.from(body as Buffer), how.format ?? 'json', { idempotencyKey, headers, maxEvents })
}

/** The record that came of it, or what is wrong with it. */
function ended(item: ReadItem | undefined): unknown {
  if (item === undefined) return undefined
  return item.ok ? { ...(decode(item.value) as object) } : item.problem
}

const problem = (code: string, pointer: string): ItemProblem => ({ code, pointer, detail: expect.any(String) })

test('an event of the sample comes to the bytes that the producer makes of it', () => {
  const schema = JSON.parse(readFileSync(path.join(FLIGHTS, 'event.avsc'), 'utf8')) as AvroSchema
  const reader = createEventReader({ schema, schemaId: 3, idField: 'event_id', keyField: 'tailnum', mapping: null })
  const event = {
    event_id: '20130315-UA-1545-EWR-0515',
    carrier: 'UA',
    flight: 1545,
    tailnum: 'N14228',
    origin: 'EWR',
    dest: 'IAH',
    scheduled_at: 1363324500000,
    departed_at: 1363324620000,
    dep_delay: -2,
    distance: 1400,
    plane_year: 1999,
    plane_seats: null,
  }
  const value = parseAvroSchema(schema, 'flights').encode(3, event)
  const options = { idempotencyKey: null, headers: {}, maxEvents: 3 }
  const { plane_seats: _, ...sparse } = event
  const bodies = [event, Object.fromEntries(Object.entries(event).reverse()), sparse]
  expect(reader.read(Buffer.from(JSON.stringify(bodies)), 'json', options)).toEqual({
    several: true,
    items: bodies.map(() => ({ ok: true, id: event.event_id, key: 'N14228', value })),
  })
})

test('the idempotency key is the id of an event, with its place where there are several', () => {
  const idOf = (item: ReadItem | undefined): string | undefined => (item?.ok ? item.id : item?.problem.code)
  const idsOf = (body: string, format: EventFormat = 'json', idempotencyKey: string | null = 'k 1') =>
    read(body, { idempotencyKey, format }).items.map(idOf)
  expect(idsOf('{}')).toEqual(['k 1'])
  expect(idsOf('{"id":"k 1"}')).toEqual(['k 1'])
  expect(idsOf('{"id":""}')).toEqual(['k 1'])
  expect(idsOf('{"id":"other"}')).toEqual(['idempotency_key_mismatch'])
  expect(idsOf('[{}]')).toEqual(['k 1.0'])
  expect(idsOf('[{},{"id":"k 1"},{"id":"k 1.2"},{"celsius":"x"},{}]')).toEqual([
    'k 1.0',
    'idempotency_key_mismatch',
    'k 1.2',
    'wrong_type',
    'k 1.4',
  ])
  expect(idsOf('{}\n\n{}', 'ndjson')).toEqual(['k 1.0', 'k 1.1'])
  const random = idsOf('[{},{},{"id":"own"}]', 'json', null)
  expect(random).toEqual([expect.stringMatching(UUID), expect.stringMatching(UUID), 'own'])
  expect(new Set(random).size).toBe(3)
  const [item] = read('{}', { idempotencyKey: 'k' }).items
  expect(ended(item)).toEqual({ ...DEFAULTS, id: 'k' })
  for (const bad of ['', 'x'.repeat(256), 'é', 'a\tb']) {
    expect(() => read('{}', { idempotencyKey: bad })).toThrow(
      expect.objectContaining({ code: 'invalid_idempotency_key', fate: 'reject' }),
    )
  }
})

test('a label names its event, and the idempotency key has no part in it', () => {
  const labels = { idRequired: true, keyField: 'id', idempotencyKey: 'k' }
  const { items } = read('[{"id":"a"},{},{"id":""}]', labels)
  expect(items[0]).toMatchObject({ ok: true, id: 'a', key: 'a' })
  expect(items.slice(1).map(ended)).toEqual([problem('missing_field', '/id'), problem('missing_field', '/id')])
})

test('the key is a text, exact, and null where the field is', () => {
  const keyOf = (text: string, keyField: string): string | null | undefined => {
    const [item] = read(`{"id":"a",${text}}`, { keyField }).items
    return item?.ok ? item.key : undefined
  }
  expect(keyOf('"device":"d 1"', 'device')).toBe('d 1')
  expect(keyOf('"device":null', 'device')).toBe(null)
  expect(keyOf('"ok":true', 'device')).toBe(null)
  expect(keyOf('"serial":9007199254740993', 'serial')).toBe('9007199254740993')
  expect(keyOf('"serial":-9223372036854775808', 'serial')).toBe('-9223372036854775808')
  expect(keyOf('"ok":true', 'at')).toBe('1')
  expect(keyOf('"at":0', 'id')).toBe('a')
})

test('fields under other names, with fixed values, from headers, and what is left out', () => {
  const mapping: CompiledHttpMapping = {
    rename: [{ from: 'deviceId', to: 'device' }],
    constants: [
      { field: 'source', value: 'http' },
      { field: 'ok', value: false },
    ],
    drop: ['debug'],
    headers: [
      { header: 'x-serial', field: 'serial' },
      { header: 'x-at', field: 'at' },
    ],
  }
  const one = (body: string, headers: ReadOptions['headers'] = {}): unknown =>
    ended(read(body, { mapping, headers }).items[0])
  const mapped = { ...DEFAULTS, source: 'http', ok: false }
  expect(one('{"id":"a"}')).toEqual(mapped)
  expect(one('{"deviceId":"d","id":"a","debug":{"x":[1,{"y":null}]}}')).toEqual({ ...mapped, device: 'd' })
  expect(one('{"device":"d","id":"a"}')).toEqual({ ...mapped, device: 'd' })
  expect(one('{"id":"a","device":"d","deviceId":"d"}')).toEqual(problem('duplicate_key', '/deviceId'))
  expect(one('{"id":"a","deviceId":7}')).toEqual(problem('wrong_type', '/deviceId'))
  expect(one('{"id":"a","source":"http"}')).toEqual(problem('constant_field', '/source'))
  expect(one('{"id":"a","serial":1}', { 'x-serial': '1' })).toEqual(problem('header_field', '/serial'))
  expect(one('{"id":"a","debug":1,"debug":2}')).toEqual(problem('duplicate_key', '/debug'))
  expect(one('{"id":"a","debug":{"a":{"b":1,"\\u0062":2}}}')).toEqual(problem('duplicate_key', '/debug/a/b'))
  expect(one('{"id":"a","debug":"\\udc00"}')).toEqual(problem('lone_surrogate', '/debug'))
  expect(one(`{"id":"a","debug":${'['.repeat(40)}${']'.repeat(40)}}`)).toMatchObject({ code: 'too_deep' })
  expect(one('{"id":"a"}', { 'x-serial': '9007199254740993', 'x-at': '1970-01-01T00:00:02Z' })).toEqual({
    ...mapped,
    serial: 9007199254740993n,
    at: 2000,
  })
  expect(one('{"id":"a"}', { 'x-at': '2000' })).toEqual({ ...mapped, at: 2000 })
  expect(one('{"id":"a"}', { 'x-serial': '1.5' })).toEqual(problem('out_of_range', '/serial'))
  expect(one('{"id":"a"}', { 'x-serial': 'one' })).toEqual(problem('invalid_value', '/serial'))
  expect(one('{"id":"a"}', { 'x-serial': 'null' })).toEqual(problem('invalid_value', '/serial'))
  expect(one('{"id":"a"}', { 'x-serial': ['1', '2'] })).toEqual(problem('duplicate_header', '/serial'))
  expect(() => read('{}', { mapping: { ...NOTHING, constants: [{ field: 'celsius', value: 'warm' }] } })).toThrow(
    expect.objectContaining({ code: 'invalid_schema' }),
  )
})
