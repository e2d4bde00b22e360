import { expect, test } from 'vitest'
import { createEventReader } from '../../ingest/mapping/create-event-reader.ts'
import { readInference } from '../../ingest/v2/infer-request.ts'
import { inputColumns } from '../../ingest/v2/tensors.ts'
import { parseRecordSchema } from '../../schemas/pipeline/avro-schema.ts'

const SCHEMA = {
  type: 'record',
  name: 'Reading',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'n', type: ['null', 'long'], default: null },
    { name: 'i', type: 'int', default: 0 },
    { name: 'x', type: 'double', default: 0 },
    { name: 'ok', type: 'boolean', default: false },
  ],
}
const COLUMNS = inputColumns(parseRecordSchema(SCHEMA), 'id', new Set())
const reader = createEventReader({ schema: SCHEMA, schemaId: 1, idField: 'id', keyField: 'n', mapping: null })

const input = (name: string, datatype: string, data: string, rows: string | number = 1): string =>
  `{"name":"${name}","shape":[${rows}],"datatype":"${datatype}","data":[${data}]}`
const request = (...inputs: readonly string[]): string => `{"inputs":[${inputs.join(',')}]}`
const events = (text: string): string => readInference(Buffer.from(text), null, COLUMNS).events.toString()
const refusal = (code: string) => expect.objectContaining({ status: 400, code }) as Error

/** The code that an event ends with, or its key. */
function endOf(text: string): string | null {
  const options = { idempotencyKey: 'k', headers: {}, maxEvents: 10 }
  const [item] = reader.read(Buffer.from(events(text)), 'json', options).items
  if (item === undefined) throw new Error('there is no event')
  return item.ok ? item.key : item.problem.code
}

test('numbers come into the events as they were written', () => {
  for (const text of ['4503599627370497.25', '9007199254740993', '-0', '1e2', '1.50', '5']) {
    expect(events(request(input('n', 'INT64', text), input('x', 'FP64', `[${text}]`)))).toBe(
      `[{"n":${text},"x":${text}}]`,
    )
  }
  expect(events(request(input('n', 'INT64', 'null')))).toBe('[{"n":null}]')
  expect(events(request(input('ok', 'BOOL', 'true,false', '2,1.0')))).toBe('[{"ok":true},{"ok":false}]')
  expect(
    readInference(
      Buffer.from(`{"parameters":{"timeout":2000000.0},${request(input('i', 'INT32', '1')).slice(1)}`),
      null,
      COLUMNS,
    ).timeoutMs,
  ).toBe(2_000)
})

test('a number that its type does not hold is refused and never rounded', () => {
  expect(endOf(request(input('n', 'INT64', '9007199254740993')))).toBe('9007199254740993')
  expect(endOf(request(input('n', 'INT64', '5.0')))).toBe('5')
  for (const text of ['4503599627370497.25', '9007199254740990.6', '9223372036854775808', '1e999']) {
    expect(endOf(request(input('n', 'INT64', text)))).toBe('out_of_range')
  }
  expect(endOf(request(input('i', 'INT32', '2147483648')))).toBe('out_of_range')
  expect(endOf(request(input('i', 'INT32', '1.5')))).toBe('out_of_range')
  expect(endOf(request(input('x', 'FP64', '1e999')))).toBe('out_of_range')
  for (const [name, datatype, text] of [
    ['ok', 'BOOL', '1'],
    ['n', 'INT64', '"5"'],
    ['i', 'INT32', 'null'],
    ['id', 'BYTES', '5.0'],
  ] as const) {
    expect(() => events(request(input(name, datatype, text)))).toThrow(refusal('invalid_inference_request'))
  }
})

// More than the columns can take is no request: it is refused before anything is made of it.
test.each([
  ['elements', request(...Array.from({ length: 20_000 }, () => '0')), 'json_too_wide'],
  ['objects', request(...Array.from({ length: 20_000 }, () => '{}')), 'json_too_wide'],
  [
    'values',
    request(input('n', 'INT64', Array.from({ length: 20_000 }, () => '0').join(','), 20_000)),
    'json_too_wide',
  ],
  ['members', `{${Array.from({ length: 2_000 }, (_, at) => `"k${at}":0`).join(',')}}`, 'json_too_wide'],
  ['levels', request('[[[[0]]]]'), 'json_too_deep'],
  ['inputs twice', '{"inputs":[],"inputs":[]}', 'duplicate_key'],
  ['data twice', request('{"name":"n","shape":[1],"datatype":"INT64","data":[1],"data":[2]}'), 'duplicate_key'],
  ['no JSON', '{"inputs":', 'invalid_json'],
])('too much: %s', (_, text, code) => {
  expect(() => events(text)).toThrow(refusal(code))
})

test('as many rows and columns as there may be', () => {
  const rows = Array.from({ length: 1_000 }, (_, row) => row)
  const column = rows.map((row) => `[${row}]`).join(',')
  const text = request(
    input('n', 'INT64', column, '1000,1'),
    input('i', 'INT32', column, '1000,1'),
    input('x', 'FP64', column, '1000,1'),
    input('ok', 'BOOL', rows.map(() => '[true]').join(','), '1000,1'),
    input('id', 'BYTES', rows.map((row) => `["e${row}"]`).join(','), '1000,1'),
  )
  const outputs = Array.from({ length: 100 }, () => '{"name":"score","parameters":{"binary_data":true}}')
  const whole = `{"id":"q","parameters":{"binary_data_output":true},"outputs":[${outputs}],${text.slice(1)}`
  expect(readInference(Buffer.from(whole), null, COLUMNS)).toMatchObject({ rows: 1_000, binary: true })
})
