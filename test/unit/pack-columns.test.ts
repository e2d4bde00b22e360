import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import wabt from 'wabt'
import { columnSet, createPackColumns, PACK_COLUMNS } from '../../inference/models/pack-columns.ts'

const SOURCE = join(import.meta.dirname, '../../inference/models/pack-columns.wat')

test('what runs is what the source says', async () => {
  const { parseWat } = await wabt()
  const parsed = parseWat('pack-columns.wat', readFileSync(SOURCE, 'utf8'), { simd: true })
  const { buffer } = parsed.toBinary({})
  parsed.destroy()
  expect(PACK_COLUMNS.toString('base64')).toBe(Buffer.from(buffer).toString('base64'))
})

/** Whole numbers that float32 holds, at the edges of 32 bits and beyond them, too. */
const whole = fc.oneof(
  fc.integer({ min: -(2 ** 24), max: 2 ** 24 }),
  fc.constantFrom(0, -0, 2 ** 31, -(2 ** 31), 2 ** 31 - 128, 2 ** 32, -(2 ** 40), 2 ** 53),
)
const anything = fc.oneof(fc.float(), fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -0))

/** Rows of `width` columns, whole numbers in those that `wholes` names. */
const tables = fc
  .record({
    width: fc.integer({ min: 1, max: 40 }),
    counts: fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 3 }),
  })
  .chain(({ width, counts }) =>
    fc.record({
      width: fc.constant(width),
      counts: fc.constant(counts),
      sets: fc.array(
        fc.record({
          type: fc.constantFrom('float32' as const, 'int64' as const),
          columns: fc.oneof(
            fc.uniqueArray(fc.nat(width - 1), { minLength: 1 }),
            fc
              .tuple(fc.nat(width - 1), fc.nat(width - 1))
              .map(([a, b]) => Array.from({ length: Math.abs(a - b) + 1 }, (_, column) => Math.min(a, b) + column)),
          ),
        }),
        { minLength: 1, maxLength: 3 },
      ),
      cells: fc.array(fc.tuple(whole, anything), { minLength: 20 * width, maxLength: 20 * width }),
    }),
  )

test('columns come out in the order that was asked for, bit by bit, also where memory is used again', () => {
  fc.assert(
    fc.property(tables, ({ width, counts, sets, cells }) => {
      const wholes = new Set(sets.flatMap(({ type, columns }) => (type === 'int64' ? columns : [])))
      const pack = createPackColumns(
        width,
        sets.map(({ type, columns }) => columnSet(type, columns)),
      )
      for (const count of counts) {
        const rows = Float32Array.from({ length: count * width }, (_, at) => {
          const [integer, number] = cells[at] as [number, number]
          return wholes.has(at % width) ? integer : number
        })
        const packed = pack(rows, count)
        for (const [at, { type, columns }] of sets.entries()) {
          const expected = Array.from({ length: count }, (_, row) =>
            columns.map((column) => rows[row * width + column] as number),
          ).flat()
          const found = packed[at] as Float32Array | BigInt64Array
          const wanted = type === 'int64' ? BigInt64Array.from(expected, BigInt) : Float32Array.from(expected)
          expect(Buffer.from(found.buffer, found.byteOffset, found.byteLength)).toEqual(Buffer.from(wanted.buffer))
        }
      }
    }),
  )
})

test.each([0.5, Number.NaN, Number.POSITIVE_INFINITY, -1e-9])('%d is no whole number', (value) => {
  for (const columns of [[0], [0, 1, 2, 3, 4]]) {
    const pack = createPackColumns(5, [columnSet('int64', columns)])
    expect(() => pack(Float32Array.of(1, 2, 3, 4, 5, value, 2, 3, 4, 5), 2)).toThrow(RangeError)
    expect(pack(Float32Array.of(1, 2, 3, 4, 5), 1)[0]?.[0]).toBe(1n)
  }
})
