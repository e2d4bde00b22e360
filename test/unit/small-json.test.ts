import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseSmallJson } from '../../ingest/http/small-json.ts'

const parse = (text: string | Buffer): unknown => parseSmallJson(Buffer.from(text), 4, 6)

test('what JSON.parse reads it reads, if no object has a member twice', () => {
  fc.assert(
    fc.property(fc.json({ noUnicodeString: false }), (text) => {
      let read: unknown
      try {
        read = parseSmallJson(Buffer.from(text), 64, 10_000)
      } catch (error) {
        expect(error).toMatchObject({ code: 'forbidden_key' })
        return
      }
      expect(read).toEqual(JSON.parse(text))
    }),
  )
})

test.each([
  ['[[[[[1]]]]]', 'json_too_deep'],
  [`${'['.repeat(100_000)}`, 'json_too_deep'],
  [`${'{"a":'.repeat(100_000)}`, 'json_too_deep'],
  ['{"a":1,"b":2,"c":{"d":1,"e":2,"f":3,"g":4}}', 'json_too_wide'],
  [`[${'0,'.repeat(60)}0]`, 'json_too_wide'],
  [`{"a":[${'{},'.repeat(60)}0]}`, 'json_too_wide'],
  [`[${'[],'.repeat(60)}[]]`, 'json_too_wide'],
  ['{"a":1,"a":2}', 'duplicate_key'],
  ['{"a":1,"\\u0061":2}', 'duplicate_key'],
  ['{"__proto__":{"admin":true}}', 'forbidden_key'],
  ['{"\\u005f_proto__":{"admin":true}}', 'forbidden_key'],
  ['{"a":{"constructor":{"prototype":1}}}', 'forbidden_key'],
  ['{"a":1', 'invalid_json'],
  ['{"a', 'invalid_json'],
  ['{"\\x":1}', 'invalid_json'],
  ['{"a":NaN}', 'invalid_json'],
  ['[1,]', 'invalid_json'],
  ['', 'invalid_json'],
  ['\ufeff{}', 'invalid_json'],
  [Buffer.from([0x22, 0xff, 0xfe, 0x22]), 'invalid_json'],
  [Buffer.from([0x22, 0xc0, 0xaf, 0x22]), 'invalid_json'],
])('refused, case %#', (text, code) => {
  expect(() => parse(text)).toThrow(expect.objectContaining({ status: 400, code }) as Error)
})

test('strings may look like anything', () => {
  expect(parse('{"a":"{\\"a\\":[[[[[[","b":["x:","y\\\\"]}')).toEqual({ a: '{"a":[[[[[[', b: ['x:', 'y\\'] })
})

test('as many elements as are said, and numbers by their text', () => {
  const options = {
    maxElements: 4,
    reviver: (_: string, value: unknown, { source }: { source?: string }) => source ?? value,
  }
  const exact = (text: string): unknown => parseSmallJson(Buffer.from(text), 4, 6, options)
  expect(exact('{"a":[1.0,9007199254740993],"b":[1e2,{"c":-0}]}')).toEqual({
    a: ['1.0', '9007199254740993'],
    b: ['1e2', { c: '-0' }],
  })
  expect(() => exact('[1,2,3,4,5]')).toThrow(expect.objectContaining({ code: 'json_too_wide' }))
  expect(exact('[",",",,,,,"]')).toEqual(['","', '",,,,,"'])
})
