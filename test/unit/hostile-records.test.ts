import { expect, test } from 'vitest'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { rejected } from '../../infra/runtime/errors.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryRegistry } from '../support/memory-registry.ts'

const HEADER = Buffer.from([0, 0, 0, 0, 1])
const field = (type: unknown): AvroSchema =>
  ({
    type: 'record',
    name: 'R',
    fields: [
      { name: 'a', type },
      { name: 'id', type: 'string' },
    ],
  }) as AvroSchema
const onlyId = { type: 'record', name: 'R', fields: [{ name: 'id', type: 'string' }] } as AvroSchema
/** Zigzag varints of the count, then of what follows, then the string "x". */
const value = (...longs: bigint[]): Buffer =>
  Buffer.concat([HEADER, ...longs.map(zigzag), Buffer.from([0]), Buffer.from([2, 0x78])])

function zigzag(value: bigint): Buffer {
  const bytes: number[] = []
  let rest = value >= 0n ? value * 2n : -value * 2n - 1n
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return Buffer.from([...bytes, Number(rest)])
}

const array = field({ type: 'array', items: 'long' })
const map = field({ type: 'map', values: 'long' })

test.each([
  ['an array read', array, array, value(4_000_000_000n)],
  ['an array read with its size', array, array, value(-4_000_000_000n, 10n)],
  ['an array skipped', array, onlyId, value(4_000_000_000n)],
  ['an array skipped by a size that goes back', array, onlyId, value(-1n, -12n)],
  ['a map read', map, map, value(4_000_000_000n)],
  ['a map skipped', map, onlyId, value(4_000_000_000n)],
])('%s with more items than there are bytes is refused at once', (_, writer, reader, bytes) => {
  const read = parseAvroSchema(reader, 'reader').readerOf(parseAvroSchema(writer, 'writer'))
  expect(() => read(bytes)).toThrow(/a block claims -?\d+ (items|bytes) where \d+ bytes are left/)
})

test('arrays and maps are read and skipped, whatever their keys and however they are blocked', () => {
  const both = field({ type: 'map', values: { type: 'array', items: 'string' } })
  const type = parseAvroSchema(both, 'both')
  const a = Object.fromEntries([
    ['__proto__', ['x', 'y']],
    ['constructor', []],
  ])
  const bytes = type.encode(1, { a, id: 'i' })
  const read = type.readerOf(type)(bytes) as { readonly a: object; readonly id: string }
  expect([Object.entries(read.a), read.id]).toEqual([Object.entries(a), 'i'])
  expect(parseAvroSchema(onlyId, 'reader').readerOf(type)(bytes)).toEqual({ id: 'i' })

  const sized = Buffer.concat([HEADER, ...[-2n, 2n, 5n, 6n, 1n, 7n].map(zigzag), Buffer.from([0, 2, 0x78])])
  const longs = parseAvroSchema(array, 'array')
  expect(longs.readerOf(longs)(sized)).toEqual({ a: [5, 6, 7], id: 'x' })
  expect(parseAvroSchema(onlyId, 'reader').readerOf(longs)(sized)).toEqual({ id: 'x' })
})

test.each([
  ['is no Avro schema', async () => Promise.reject(rejected('unusable_schema', 'schema 1 is no Avro schema'))],
  ['makes no sense', async () => ({ type: 'recrod' }) as unknown as AvroSchema],
])('a record whose schema %s is rejected, not waited for', async (_, schemaById) => {
  const registry = { ...memoryRegistry(new Map()), schemaById }
  const options = { schema: onlyId, name: 'event', registry, clock: manualClock(), unknownSchemaWaitMs: 1_000 }
  const reader = createAvroReader(options)
  await reader.prepare([value()])
  expect(reader.decode(value())).toMatchObject({ ok: false, pending: false, reason: 'incompatible_schema' })
})
