import type { ColumnType } from '../column-types.ts'
import { encodedText, writeLength } from './bytes.ts'

/** Some rows of a block, as a block: what of a chunk has to go by an insert of its own. `rows` ascend. */
export function pickRows(block: Buffer, types: Readonly<Record<string, ColumnType>>, rows: readonly number[]): Buffer {
  const from = { bytes: block, at: 0 }
  const columns = readLength(from)
  const total = readLength(from)
  const head = Buffer.alloc(20)
  const parts: Buffer[] = [head.subarray(0, writeLength(head, writeLength(head, 0, columns), rows.length))]
  for (const [name, type] of Object.entries(types)) {
    const titles = Buffer.concat([encodedText(name), encodedText(type)])
    if (titles.compare(block, from.at, from.at + titles.length) !== 0)
      throw new RangeError(`no column ${name} at ${from.at}`)
    from.at += titles.length
    parts.push(titles, ...pickColumn(from, type, total, rows))
  }
  return Buffer.concat(parts)
}

interface Position {
  readonly bytes: Buffer
  at: number
}

const WORD = 4
const LONG = 8

/** Moves behind the column. */
function pickColumn(from: Position, type: ColumnType, total: number, rows: readonly number[]): readonly Buffer[] {
  switch (type) {
    case 'Bool':
      return fixed(from, 1, total, rows)
    case 'Int32':
    case 'Float32':
      return fixed(from, WORD, total, rows)
    case 'Int64':
    case 'UInt64':
    case "DateTime64(3, 'UTC')":
      return fixed(from, LONG, total, rows)
    case 'String':
      return texts(from, total, rows)
    case 'Nullable(String)':
      return [...fixed(from, 1, total, rows), ...texts(from, total, rows)]
    case 'Array(Float32)':
      return floats(from, total, rows)
    case 'LowCardinality(String)':
    case 'LowCardinality(Nullable(String))':
      return keys(from, total, rows)
    case 'Nullable(Int32)':
    case 'Nullable(Int64)':
    case 'Float64':
    case 'Array(Int64)':
    case 'Map(String, String)':
      throw new RangeError(`${type} is not written as Native`)
  }
}

function fixed(from: Position, size: number, total: number, rows: readonly number[]): readonly Buffer[] {
  const start = from.at
  from.at += size * total
  return rows.map((row) => from.bytes.subarray(start + size * row, start + size * (row + 1)))
}

function texts(from: Position, total: number, rows: readonly number[]): readonly Buffer[] {
  const picked: Buffer[] = []
  let next = 0
  for (let row = 0; row < total; row++) {
    const start = from.at
    const length = readLength(from)
    from.at += length
    if (rows[next] !== row) continue
    picked.push(from.bytes.subarray(start, from.at))
    next += 1
  }
  return picked
}

function floats(from: Position, total: number, rows: readonly number[]): readonly Buffer[] {
  const { bytes, at } = from
  const endOf = (row: number): number => (row < 0 ? 0 : Number(bytes.readBigUInt64LE(at + LONG * row)))
  const items = at + LONG * total
  const ends = Buffer.alloc(LONG * rows.length)
  const picked: Buffer[] = [ends]
  let end = 0
  rows.forEach((row, place) => {
    end += endOf(row) - endOf(row - 1)
    ends.writeBigUInt64LE(BigInt(end), LONG * place)
    picked.push(bytes.subarray(items + WORD * endOf(row - 1), items + WORD * endOf(row)))
  })
  from.at = items + WORD * endOf(total - 1)
  return picked
}

/** All keys are kept: one that no row has does no harm. */
function keys(from: Position, total: number, rows: readonly number[]): readonly Buffer[] {
  const { bytes, at: start } = from
  const size = 2 ** Number(bytes.readBigUInt64LE(start + LONG) & 3n)
  const count = Number(bytes.readBigUInt64LE(start + 2 * LONG))
  from.at = start + 3 * LONG
  for (let key = 0; key < count; key++) {
    const length = readLength(from)
    from.at += length
  }
  const head = bytes.subarray(start, from.at)
  const counted = Buffer.alloc(LONG)
  counted.writeBigUInt64LE(BigInt(rows.length))
  from.at += LONG
  return [head, counted, ...fixed(from, size, total, rows)]
}

function readLength(from: Position): number {
  let length = 0
  for (let shift = 0; ; shift += 7) {
    const byte = from.bytes[from.at++] as number
    length |= (byte & 0x7f) << shift
    if (byte < 0x80) return length
  }
}
