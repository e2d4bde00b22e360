import { CABIN, DECIMAL, FIXED, FIXED_DECIMAL, logical, MICROS, MILLIS, STOP } from './json-case-types.ts'

/*
 * What the gateway accepts and refuses: one table, for every place that has a verdict on an event. `text` is the JSON of the
 * field `v` of `{"id":"a","v":…}`, `type` its Avro type; accepted = the value as the Avro library reads it back.
 */

interface Accepted {
  readonly value: unknown
}
interface Refused {
  readonly code: string
  /** JSON Pointer of where, in the event. */
  readonly at: string
}

export interface ValueCase {
  readonly what: string
  readonly type: unknown
  readonly text: string
  readonly verdict: Accepted | Refused
}

const is = (value: unknown): Accepted => ({ value })
const no = (code: string, below = ''): Refused => ({ code, at: `/v${below}` })

const deep = (depth: number): string => `${'{"port":"a","next":'.repeat(depth)}null${'}'.repeat(depth)}`
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex')

type Row = readonly [what: string, text: string, verdict: Accepted | Refused]

const TABLE: readonly (readonly [type: unknown, rows: readonly Row[]])[] = [
  [
    'null',
    [
      ['null', 'null', is(null)],
      ['not null', '0', no('wrong_type')],
      ['half of it', 'nul', no('invalid_json')],
    ],
  ],
  [
    'boolean',
    [
      ['true', 'true', is(true)],
      ['false', 'false', is(false)],
      ['a number', '1', no('wrong_type')],
      ['a text', '"true"', no('wrong_type')],
      ['in capitals', 'True', no('invalid_json')],
    ],
  ],
  [
    'int',
    [
      ['zero', '0', is(0)],
      ['minus zero', '-0', is(0)],
      ['the largest', '2147483647', is(2147483647)],
      ['the smallest', '-2147483648', is(-2147483648)],
      ['one more', '2147483648', no('out_of_range')],
      ['one less', '-2147483649', no('out_of_range')],
      ['a whole number with a point', '1.0', is(1)],
      ['a whole number with an exponent', '12.50e2', is(1250)],
      ['a whole number with a negative exponent', '1200E-2', is(12)],
      ['a fraction', '1.5', no('out_of_range')],
      ['a tiny fraction', '1e-400', no('out_of_range')],
      ['zero with a huge exponent', '0e999999999', is(0)],
      ['a huge exponent', '1e999999999', no('out_of_range')],
      ['a text', '"1"', no('wrong_type')],
      ['a leading zero', '01', no('invalid_json')],
      ['a plus', '+1', no('invalid_json')],
      ['no digits before the point', '.5', no('invalid_json')],
      ['no digits behind the point', '1.', no('invalid_json')],
      ['an empty exponent', '1e', no('invalid_json')],
      ['hexadecimal', '0x10', { code: 'invalid_json', at: '' }],
      ['a lone minus', '-', no('invalid_json')],
      ['null', 'null', no('wrong_type')],
    ],
  ],
  [
    'long',
    [
      ['2^53 + 1 in digits', '9007199254740993', is(9007199254740993n)],
      ['2^53 + 1 in a text', '"9007199254740993"', is(9007199254740993n)],
      ['-(2^53 + 1)', '-9007199254740993', is(-9007199254740993n)],
      ['2^52 + 1', '4503599627370497', is(4503599627370497)],
      ['-(2^52 + 1)', '-4503599627370497', is(-4503599627370497)],
      ['the largest', '9223372036854775807', is(9223372036854775807n)],
      ['the largest with a point', '9223372036854775807.000', is(9223372036854775807n)],
      ['the largest with an exponent', '9.223372036854775807e18', is(9223372036854775807n)],
      ['the smallest', '"-9223372036854775808"', is(-9223372036854775808n)],
      ['one more', '9223372036854775808', no('out_of_range')],
      ['one more in a text', '"9223372036854775808"', no('out_of_range')],
      ['one less', '-9223372036854775809', no('out_of_range')],
      ['a fraction below 2^53', '9007199254740991.5', no('out_of_range')],
      ['a text with a fraction', '"1.0"', no('invalid_value')],
      ['a text with space', '" 1"', no('invalid_value')],
      ['a text with a plus', '"+1"', no('invalid_value')],
      ['an empty text', '""', no('invalid_value')],
      ['2,000 digits', '1'.repeat(2_000), no('out_of_range')],
    ],
  ],
  [
    'float',
    [
      ['a float', '1.5', is(1.5)],
      ['one that is rounded to a float', '0.1', is(Math.fround(0.1))],
      ['minus zero', '-0', is(-0)],
      ['the largest', '3.4028234663852886e38', is(3.4028234663852886e38)],
      ['beyond the largest', '3.5e38', no('out_of_range')],
      ['beyond all doubles', '1e400', no('out_of_range')],
      ['smaller than any', '1e-60', is(0)],
      ['NaN in a text', '"NaN"', no('wrong_type')],
      ['NaN', 'NaN', no('invalid_json')],
      ['Infinity', 'Infinity', no('invalid_json')],
      ['-Infinity', '-Infinity', no('invalid_json')],
    ],
  ],
  [
    'double',
    [
      ['an integer', '3', is(3)],
      ['minus zero', '-0.0', is(-0)],
      ['0.1', '0.1', is(0.1)],
      ['17 digits', '0.30000000000000004', is(0.30000000000000004)],
      ['halfway between two doubles', '9007199254740993', is(9007199254740992)],
      ['the largest', '1.7976931348623157e308', is(1.7976931348623157e308)],
      ['the smallest', '5e-324', is(5e-324)],
      ['beyond all doubles', '1e309', no('out_of_range')],
      ['a text', '"1.5"', no('wrong_type')],
      ['Infinity in a text', '"Infinity"', no('wrong_type')],
    ],
  ],
  [
    'string',
    [
      ['nothing', '""', is('')],
      ['letters', '"Köln 😀"', is('Köln 😀')],
      ['escapes', String.raw`"\u00e9\n\"\\\/\ud83d\ude00"`, is('é\n"\\/😀')],
      ['both forms of é are two texts', '"é"', is('é')],
      ['and the other', '"e\u0301"', is('e\u0301')],
      ['63 bytes', `"${'x'.repeat(63)}"`, is('x'.repeat(63))],
      ['64 bytes', `"${'x'.repeat(64)}"`, is('x'.repeat(64))],
      ['9,000 bytes', `"${'é'.repeat(4_500)}"`, is('é'.repeat(4_500))],
      ['an escaped NUL', String.raw`"a\u0000b"`, is('a\0b')],
      ['a NUL', '"a\0b"', no('invalid_json')],
      ['a raw line feed', '"a\nb"', no('invalid_json')],
      ['half of a surrogate pair', String.raw`"\ud83d"`, no('lone_surrogate')],
      ['a pair the wrong way round', String.raw`"\ude00\ud83d"`, no('lone_surrogate')],
      ['an escape that is none', String.raw`"\x41"`, no('invalid_json')],
      ['half of an escape', String.raw`"\u00"`, no('invalid_json')],
      ['single quotes', "'a'", no('invalid_json')],
      ['1,000,001 bytes', `"${'x'.repeat(1_000_001)}"`, no('too_large')],
      ['a number', '5', no('wrong_type')],
    ],
  ],
  [
    'bytes',
    [
      ['base64', '"AP+A"', is(bytes('00ff80'))],
      ['with padding', '"AA=="', is(bytes('00'))],
      ['nothing', '""', is(bytes(''))],
      ['without its padding', '"AA"', no('invalid_value')],
      ['bits that mean nothing', '"AB=="', no('invalid_value')],
      ['the alphabet of URLs', '"_w=="', no('invalid_value')],
      ['white space', '"AP +A"', no('invalid_value')],
    ],
  ],
  [
    FIXED,
    [
      ['4 bytes', '"AAECAw=="', is(bytes('00010203'))],
      ['3 bytes', '"AAEC"', no('invalid_value')],
    ],
  ],
  [
    CABIN,
    [
      ['a symbol', '"second"', is('second')],
      ['a symbol in escapes', String.raw`"\u0066irst"`, is('first')],
      ['no symbol', '"third"', no('invalid_value')],
      ['its place', '0', no('wrong_type')],
      ['a name of every object', '"constructor"', no('invalid_value')],
    ],
  ],
  [
    MILLIS,
    [
      ['epoch milliseconds', '1363324500000', is(1363324500000)],
      ['before 1970', '-1', is(-1)],
      ['RFC 3339', '"2013-03-15T05:15:00Z"', is(1363324500000)],
      ['with an offset', '"2013-03-15T07:15:00.250+02:00"', is(1363324500250)],
      ['to the west', '"2013-03-14T23:45:00-05:30"', is(1363324500000)],
      ['in small letters', '"2013-03-15t05:15:00z"', is(1363324500000)],
      ['zeros behind the milliseconds', '"2013-03-15T05:15:00.250000Z"', is(1363324500250)],
      ['microseconds', '"2013-03-15T05:15:00.2505Z"', no('invalid_value')],
      ['without an offset', '"2013-03-15T05:15:00"', no('invalid_value')],
      ['a date', '"2013-03-15"', no('invalid_value')],
      ['no such day', '"2013-02-29T00:00:00Z"', no('invalid_value')],
      ['a leap day', '"2016-02-29T00:00:00Z"', is(1456704000000)],
      ['a leap second', '"2016-12-31T23:59:60Z"', no('invalid_value')],
      ['hour 24', '"2016-12-31T24:00:00Z"', no('invalid_value')],
      ['digits in a text', '"1363324500000"', no('invalid_value')],
      ['a fraction', '1363324500000.5', no('out_of_range')],
      ['true', 'true', no('wrong_type')],
    ],
  ],
  [
    MICROS,
    [
      ['epoch microseconds', '1363324500000001', is(1363324500000001)],
      ['RFC 3339', '"2013-03-15T05:15:00.000001Z"', is(1363324500000001)],
      ['the last year', '"9999-12-31T23:59:59.999999Z"', is(253402300799999999n)],
      ['nanoseconds', '"2013-03-15T05:15:00.0000001Z"', no('invalid_value')],
    ],
  ],
  [
    logical('int', 'date'),
    [
      ['days', '15779', is(15779)],
      ['a date', '"2013-03-15"', is(15779)],
      ['before 1970', '"1969-12-31"', is(-1)],
      ['the year 1', '"0001-01-01"', is(-719162)],
      ['no such day', '"2013-04-31"', no('invalid_value')],
    ],
  ],
  [
    logical('int', 'time-millis'),
    [
      ['milliseconds', '1000', is(1000)],
      ['a time', '"23:59:59.999"', is(86399999)],
      ['a day', '86400000', no('out_of_range')],
      ['below zero', '-1', no('out_of_range')],
      ['too fine', '"00:00:00.0001"', no('invalid_value')],
    ],
  ],
  [
    logical('long', 'time-micros'),
    [
      ['a time', '"00:00:01.000001"', is(1000001)],
      ['a day', '86400000000', no('out_of_range')],
    ],
  ],
  [
    DECIMAL,
    [
      ['a number', '123.45', is(bytes('3039'))],
      ['a text', '"123.45"', is(bytes('3039'))],
      ['below zero', '-0.01', is(bytes('ff'))],
      ['one that needs another byte for its sign', '1.28', is(bytes('0080'))],
      ['an integer', '3', is(bytes('012c'))],
      ['zeros behind', '"1.2300"', is(bytes('7b'))],
      ['too fine', '1.234', no('out_of_range')],
      ['too many digits', '1000', no('out_of_range')],
      ['no number', '"12,5"', no('out_of_range')],
    ],
  ],
  [
    FIXED_DECIMAL,
    [
      ['in 4 bytes', '-1.5', is(bytes('fffffa24'))],
      ['the largest', '999999.999', is(bytes('3b9ac9ff'))],
      ['too many digits', '1000000', no('out_of_range')],
    ],
  ],
  [
    logical('string', 'uuid'),
    [
      ['a UUID', '"6f1e0f50-8f3b-4e5f-9d61-7b5f6a0f2c11"', is('6f1e0f50-8f3b-4e5f-9d61-7b5f6a0f2c11')],
      ['in braces', '"{6f1e0f50-8f3b-4e5f-9d61-7b5f6a0f2c11}"', no('invalid_value')],
      ['without dashes', '"6f1e0f508f3b4e5f9d617b5f6a0f2c11"', no('invalid_value')],
    ],
  ],
  [
    { type: 'array', items: 'int' },
    [
      ['nothing', '[ ]', is([])],
      ['items', '[1, 2 ,3]', is([1, 2, 3])],
      ['100 items', `[${Array.from({ length: 100 }, (_, n) => n)}]`, is(Array.from({ length: 100 }, (_, n) => n))],
      ['a bad item', '[1,2,"3"]', no('wrong_type', '/2')],
      ['a comma too many', '[1,]', no('invalid_json', '/1')],
      ['no comma', '[1 2]', no('invalid_json')],
      ['an object', '{}', no('wrong_type')],
      ['millions of items', `[${'1,'.repeat(1_100_000)}1]`, no('too_large', '/999998')],
    ],
  ],
  [
    { type: 'array', items: 'null' },
    [
      ['one null', '[null]', is([null])],
      ['two, which take no bytes either', '[null,null]', no('too_large', '/1')],
    ],
  ],
  [
    { type: 'map', values: 'int' },
    [
      ['nothing', '{}', is({})],
      ['entries', '{"a":1,"b/~c":2}', is({ a: 1, 'b/~c': 2 })],
      ['names of every object', '{"__proto__":1,"constructor":2}', is(JSON.parse('{"__proto__":1,"constructor":2}'))],
      ['a key twice', '{"a":1,"b":2,"a":3}', no('duplicate_key', '/a')],
      ['a key twice, once in escapes', String.raw`{"a":1,"\u0061":1}`, no('duplicate_key', '/a')],
      ['a bad value', '{"b/~c":1.5}', no('out_of_range', '/b~1~0c')],
      ['a key that is half of a character', String.raw`{"\udead":1}`, no('lone_surrogate')],
      ['1,025 keys', `{${Array.from({ length: 1_025 }, (_, n) => `"k${n}":1`)}}`, no('too_many_keys')],
      ['a comma too many', '{"a":1,}', no('invalid_json')],
    ],
  ],
  [
    STOP,
    [
      ['in another order', '{"wait":1,"port":"Wien"}', is({ port: 'Wien', wait: 1, next: null })],
      ['without what has a default', '{"port":"Wien"}', is({ port: 'Wien', wait: null, next: null })],
      ['a missing field', '{"wait":1}', no('missing_field', '/port')],
      ['an unknown field', '{"port":"Wien","prot":1}', no('unknown_field', '/prot')],
      ['__proto__', '{"port":"Wien","__proto__":{}}', no('unknown_field', '/__proto__')],
      ['constructor', '{"port":"Wien","constructor":{}}', no('unknown_field', '/constructor')],
      ['a field twice', '{"port":"Wien","port":"Wien"}', no('duplicate_key', '/port')],
      ['a field twice, once in escapes', String.raw`{"port":"Wien","p\u006frt":"Linz"}`, no('duplicate_key', '/port')],
      [
        'a bad field deep in it',
        '{"port":"a","next":{"port":"b","next":{"port":5}}}',
        no('wrong_type', '/next/next/port'),
      ],
      ['32 objects in one another', deep(31), is(JSON.parse(deep(31), (key, value) => refill(key, value)))],
      ['33 objects in one another', deep(32), no('too_deep', '/next'.repeat(31))],
      ['an array', '[]', no('wrong_type')],
    ],
  ],
  [
    ['null', 'string', 'long'],
    [
      ['null', 'null', is(null)],
      ['a text', '"5"', is('5')],
      ['a number', '5', is(5)],
      ['wrapped', '{"long":"5"}', is(5)],
      ['wrapped in a type it is not', '{"long":true}', no('wrong_type', '/long')],
      ['wrapped in no type of it', '{"int":5}', no('wrong_type', '/int')],
      ['wrapped twice', '{"long":5,"string":"5"}', no('wrong_type')],
      ['an array', '[]', no('wrong_type')],
    ],
  ],
  [
    ['null', MILLIS],
    [
      ['null', 'null', is(null)],
      ['a time', '"1970-01-01T00:00:01Z"', is(1000)],
    ],
  ],
  [
    ['int', 'double'],
    [
      ['a bare number', '5', no('ambiguous_union')],
      ['wrapped', '{"double":5}', is({ double: 5 })],
    ],
  ],
  [
    ['string', 'bytes'],
    [
      ['a bare text', '"AA=="', no('ambiguous_union')],
      ['wrapped', '{"bytes":"AA=="}', is(bytes('00'))],
    ],
  ],
  [
    ['null', 'int', STOP],
    [
      ['an object is the record', '{"port":"Wien"}', is({ port: 'Wien', wait: null, next: null })],
      ['and never wrapped', '{"int":5}', no('unknown_field', '/int')],
      ['a number', '5', is(5)],
    ],
  ],
]

/** What the library makes of a stop in JSON: its defaults. */
function refill(_: string, value: unknown): unknown {
  return typeof value === 'object' && value !== null ? { wait: null, ...value } : value
}

export const VALUE_CASES: readonly ValueCase[] = TABLE.flatMap(([type, rows]) =>
  rows.map(([what, text, verdict]) => ({ what: `${nameOf(type)}: ${what}`, type, text, verdict })),
)

function nameOf(type: unknown): string {
  if (Array.isArray(type)) return type.map(nameOf).join(' or ')
  if (typeof type === 'string') return type
  const { type: base, logicalType, name } = type as Readonly<Record<string, string>>
  return logicalType ?? name ?? (base as string)
}

/** Of a record with the field `v` of the case's type. */
export function caseSchema(type: unknown): Readonly<Record<string, unknown>> {
  const fields = [
    { name: 'id', type: 'string' },
    { name: 'at', type: MILLIS, default: 1_363_324_500_000 },
    { name: 'v', type },
  ]
  return { type: 'record', name: 'Case', fields }
}

export function caseBody(text: string): Buffer {
  return Buffer.from(`{"id":"a","v":${text}}`)
}
