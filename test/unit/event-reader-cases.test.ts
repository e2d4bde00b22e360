import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { createEventReader } from '../../ingest/mapping/create-event-reader.ts'
import type { ReadItem } from '../../ingest/mapping/event-reader.ts'
import { caseBody, caseSchema, VALUE_CASES } from '../support/json-cases.ts'

const OPTIONS = { idempotencyKey: null, headers: {}, maxEvents: 10 }

function read(type: unknown, body: Buffer, format: 'json' | 'ndjson'): readonly ReadItem[] {
  const reader = createEventReader({
    schema: caseSchema(type),
    schemaId: 7,
    idField: 'id',
    keyField: null,
    mapping: null,
  })
  return reader.read(body, format, OPTIONS).items
}

/** Whole bodies, of which the value table says nothing. */
const BODIES: readonly (readonly [what: string, format: 'json' | 'ndjson', body: string | Buffer, verdict: string])[] =
  [
    ['one event', 'json', '{"id":"a","v":"b"}', 'ok'],
    ['one event in white space', 'json', ' \r\n\t{ "id" : "a" , "v" : "b" } \n', 'ok'],
    ['two events', 'json', '[{"id":"a","v":"b"} , {"v":"c","id":"d"}]', 'ok ok'],
    ['no events', 'json', '[]', ''],
    ['nothing', 'json', '', 'invalid_body'],
    ['white space', 'json', ' \n ', 'invalid_body'],
    ['a number', 'json', '42', 'wrong_type'],
    ['numbers among events', 'json', '[1,{"id":"a","v":"b"},[[{}]],null]', 'wrong_type ok wrong_type wrong_type'],
    ['an array in an array', 'json', '[[{"id":"a","v":"b"}]]', 'wrong_type'],
    ['more behind the event', 'json', '{"id":"a","v":"b"}{', 'invalid_body'],
    ['more behind the array', 'json', '[{"id":"a","v":"b"}],', 'invalid_body'],
    ['a comma too many', 'json', '[{"id":"a","v":"b"},]', 'invalid_body'],
    ['no comma', 'json', '[{"id":"a","v":"b"} {"id":"a","v":"b"}]', 'invalid_body'],
    ['a body that is cut off', 'json', '[{"id":"a","v":"b"},{"id":"a', 'invalid_body'],
    ['bad JSON behind a bad event', 'json', '[{"id":1},{"id":"a","v":b}]', 'invalid_body'],
    ['bad JSON inside a bad event', 'json', '{"id":1,"v":{"x":[tru]}}', 'invalid_body'],
    ['a comment', 'json', '{"id":"a",/**/"v":"b"}', 'invalid_body'],
    ['a byte order mark', 'json', '\ufeff{"id":"a","v":"b"}', 'invalid_body'],
    ['UTF-16', 'json', Buffer.from('{"id":"a","v":"b"}', 'utf16le'), 'invalid_body'],
    ['overlong UTF-8', 'json', Buffer.from('7b226964223a22c0af227d', 'hex'), 'invalid_body'],
    ['a surrogate in UTF-8', 'json', Buffer.from('7b226964223a22eda080227d', 'hex'), 'invalid_body'],
    ['100,000 arrays in one another', 'json', '['.repeat(100_000) + ']'.repeat(100_000), 'wrong_type'],
    ['100,000 objects in one another', 'json', `{"id":${'{"a":'.repeat(1e5)}1${'}'.repeat(1e5)}}`, 'wrong_type'],
    ['100,000 arrays without an end', 'json', '['.repeat(100_000), 'invalid_body'],
    ['too many events', 'json', `[${Array.from({ length: 11 }, () => '{}')}]`, 'too_many_events'],
    ['two lines', 'ndjson', '{"id":"a","v":"b"}\n{"id":"a","v":"b"}', 'ok ok'],
    ['lines with a carriage return, and without an event', 'ndjson', '\n{"id":"a","v":"b"}\r\n\r\n \n', 'ok'],
    ['no lines', 'ndjson', '', ''],
    ['bad JSON in a line', 'ndjson', '{"id":"a","v":b}\n{"id":"a","v":"b"}', 'invalid_json ok'],
    ['a line that is cut off', 'ndjson', '{"id":"a","v":"b"\n{"id":"a","v":"b"}', 'invalid_json ok'],
    ['a text over two lines', 'ndjson', '{"id":"a","v":"b\n"}', 'invalid_json wrong_type'],
    ['two events in a line', 'ndjson', '{"id":"a","v":"b"}{"id":"a","v":"b"}', 'invalid_json'],
    ['an array in a line', 'ndjson', '[{"id":"a","v":"b"}]', 'wrong_type'],
    ['a byte order mark', 'ndjson', '\ufeff{"id":"a","v":"b"}', 'invalid_body'],
    [
      'bad UTF-8 in a line',
      'ndjson',
      Buffer.concat([Buffer.from('{"id":"a","v":"'), Buffer.from([0xff]), Buffer.from('"}\n{"id":"a","v":"b"}')]),
      'invalid_utf8 ok',
    ],
    ['too many lines', 'ndjson', '{}\n'.repeat(11), 'too_many_events'],
  ]

test.each(BODIES)('%s, %s', (_, format, body, verdict) => {
  let found: string
  try {
    const items = read('string', Buffer.from(body as Buffer), format)
    found = items.map((item) => (item.ok ? 'ok' : item.problem.code)).join(' ')
  } catch (error) {
    expect(error).toMatchObject({ fate: 'reject' })
    found = (error as { readonly code: string }).code
  }
  expect(found).toBe(verdict)
})

test.each(VALUE_CASES)('$what', ({ type, text, verdict }) => {
  const single = caseBody(text)
  const [item] = read(type, single, 'ndjson')
  if ('value' in verdict) {
    expect(item).toMatchObject({ ok: true, id: 'a', key: null })
    const { value } = item as { readonly value: Buffer }
    expect(value.readInt32BE(1)).toBe(7)
    const codec = parseAvroSchema(caseSchema(type), 'case')
    const record = codec.readerOf(codec)(value) as { readonly v: unknown }
    expect(plain(record.v)).toEqual(plain(verdict.value))
  } else {
    expect(item).toMatchObject({ ok: false, problem: { code: verdict.code, pointer: verdict.at } })
  }

  // the same verdict between neighbours, which it leaves alone
  const good = VALUE_CASES.find((other) => other.type === type && 'value' in other.verdict)
  if (good === undefined) return
  const neighbour = caseBody(good.text)
  const lines = read(type, Buffer.concat([neighbour, NEWLINE, single, NEWLINE, neighbour]), 'ndjson')
  if (!text.includes('\n')) expect(lines.map(({ ok }) => ok)).toEqual([true, 'value' in verdict, true])
  const array = Buffer.concat([Buffer.from('['), neighbour, COMMA, single, COMMA, neighbour, Buffer.from(']')])
  if ('code' in verdict && verdict.code === 'invalid_json') {
    expect(() => read(type, array, 'json')).toThrow(expect.objectContaining({ code: 'invalid_body', fate: 'reject' }))
  } else {
    const items = read(type, array, 'json')
    expect(items.map(({ ok }) => ok)).toEqual([true, 'value' in verdict, true])
    if ('code' in verdict) expect(items[1]).toEqual(item)
  }
})

const NEWLINE = Buffer.from('\n')
const COMMA = Buffer.from(',')

/** Records of the library are of classes of their own. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return value
  return Object.entries(value)
    .map(([name, member]) => [name, plain(member)])
    .sort()
}
