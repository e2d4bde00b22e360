import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type WireReader, type WireWriter, wireReader, wireWriter } from '../../infra/runtime/kafka/protocol/wire.ts'

interface Field {
  write(writer: WireWriter): void
  read(reader: WireReader): void
}

function field<T>(value: T, write: (writer: WireWriter) => void, read: (reader: WireReader) => T): Field {
  return { write, read: (reader) => expect(read(reader)).toEqual(value) }
}

const text = fc.option(fc.string({ maxLength: 400 }))
const FIELDS: readonly fc.Arbitrary<Field>[] = [
  fc.integer({ min: -128, max: 127 }).map((n) =>
    field(
      n,
      (w) => w.int8(n),
      (r) => r.int8(),
    ),
  ),
  fc.integer({ min: -32_768, max: 32_767 }).map((n) =>
    field(
      n,
      (w) => w.int16(n),
      (r) => r.int16(),
    ),
  ),
  fc.integer().map((n) =>
    field(
      n,
      (w) => w.int32(n),
      (r) => r.int32(),
    ),
  ),
  fc.maxSafeInteger().map((n) =>
    field(
      n,
      (w) => w.int64(n),
      (r) => r.int64(),
    ),
  ),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((n) =>
    field(
      n,
      (w) => w.int64(n),
      (r) => r.bigint64(),
    ),
  ),
  fc.boolean().map((b) =>
    field(
      b,
      (w) => w.boolean(b),
      (r) => r.boolean(),
    ),
  ),
  text.map((s) =>
    field(
      s,
      (w) => w.string(s),
      (r) => r.string(),
    ),
  ),
  text.map((s) =>
    field(
      s,
      (w) => w.compactString(s),
      (r) => r.compactString(),
    ),
  ),
  fc.uint8Array({ maxLength: 2_000 }).map((b) =>
    field<Buffer | null>(
      Buffer.from(b),
      (w) => w.bytes(Buffer.from(b)),
      (r) => r.bytes(),
    ),
  ),
  fc.uuid().map((id) =>
    field(
      id,
      (w) => w.uuid(id),
      (r) => r.uuid(),
    ),
  ),
  fc.array(fc.integer(), { maxLength: 300 }).map((list) =>
    field(
      list,
      (w) => w.array(list, (n, item) => item.int32(n)),
      (r) => r.array((item) => item.int32()),
    ),
  ),
  fc.array(fc.string(), { maxLength: 150 }).map((list) =>
    field<(string | null)[]>(
      list,
      (w) => w.compactArray(list, (s, item) => item.compactString(s)),
      (r) => r.compactArray((item) => item.compactString()),
    ),
  ),
  fc.constant(
    field(
      undefined,
      (w) => w.noTags(),
      (r) => r.skipTags(),
    ),
  ),
]
const message = fc.array(fc.oneof(...FIELDS), { maxLength: 60 })

test('what is written is read again, in messages of any length', () => {
  fc.assert(
    fc.property(message, (fields) => {
      const writer = wireWriter()
      for (const { write } of fields) write(writer)
      const reader = wireReader(writer.end(), 'Test')
      for (const { read } of fields) read(reader)
      expect(reader.remaining).toBe(0)
    }),
  )
})

test('a message that ends early is a malformed response, wherever it ends', () => {
  fc.assert(
    fc.property(message, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (fields, part) => {
      const writer = wireWriter()
      for (const { write } of fields) write(writer)
      const whole = writer.end()
      fc.pre(whole.length > 0)
      const reader = wireReader(whole.subarray(0, Math.floor(whole.length * part)), 'Test')
      expect(() => {
        for (const { read } of fields) read(reader)
      }).toThrow(expect.objectContaining({ code: 'malformed_response', fate: 'retry' }))
    }),
  )
})
