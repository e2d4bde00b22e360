import { AvroCursor } from '../../../infra/runtime/avro/avro-bytes.ts'
import { WIRE_HEADER_BYTES } from '../../../infra/runtime/avro/wire-format.ts'
import { type AvroField, type AvroType, parseRecordSchema } from '../../../schemas/pipeline/avro-schema.ts'
import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { type ColumnType, rangeOf } from '../column-types.ts'
import type { NativeBlock } from './block.ts'
import { textHash } from './bytes.ts'
import { keyText } from './keys-column.ts'

/** Moves the values of records from their bytes into the columns of a block. */
export interface AvroRows {
  /**
   * Looks at the record in [start, end) of `bytes`, a value in the wire format. True only where decoding it would come to a row, and
   * to the very same; on any doubt that is left to the decoder, which knows the reason. Reads nothing outside the record.
   */
  read(bytes: Buffer, view: DataView, start: number, end: number): boolean
  /** Of the record that was read, the number in the field at this place. */
  number(place: number): number
  /** Place of a field of numbers. */
  placeOf(field: string): number
  /** Writes the record that was read into a row of the block. */
  write(row: number): void
}

type Plan =
  | 'text'
  | 'nullable-text'
  | 'key'
  | 'nullable-key'
  | 'symbol'
  | 'boolean'
  | 'int'
  | 'long'
  | 'float'
  | 'floats'

/**
 * For records of one writer schema, whose fields become the columns of their names; null where such records have to be decoded.
 * The code is made of positions and numbers alone: no name of a schema, and nothing of a record, becomes a part of it.
 */
export function compileAvroRows(
  writer: AvroSchema,
  reader: AvroSchema,
  types: Readonly<Record<string, ColumnType>>,
  block: NativeBlock,
): AvroRows | null {
  const { fields } = parseRecordSchema(writer)
  const ours = parseRecordSchema(reader).fields
  if (fields.length !== ours.length || !fields.every((field, at) => isSame(field, ours[at] as AvroField))) return null
  const plans = fields.map((field) => planOf(field.type, types[field.name]))
  if (plans.includes(null)) return null
  const names = fields.map(({ name }) => name)
  const reads = fields.flatMap(({ name, type }, at) => readCode(plans[at] as Plan, at, type, types[name] as ColumnType))
  const writes = plans.map((plan, at) => writeCode(plan as Plan, at))
  const source = [
    "'use strict'",
    `const { ${names.map((_, at) => `${at}: c${at}`).join(', ')} } = columns`,
    // of field i: where it begins or its value (3i), its length or -1 for null (3i + 1), hash of a text, of a key that is the last one -1 (3i + 2)
    `const p = new Int32Array(${3 * names.length}), v = new Float64Array(${names.length})`,
    'let source = null',
    'function read(bytes, view, start, end) {',
    `let pos = start + ${WIRE_HEADER_BYTES}, b = 0, n = 0`,
    'source = view',
    'cursor.bytes = bytes',
    'cursor.end = end',
    ...reads,
    'return pos === end',
    '}',
    'function write(row) {',
    ...writes,
    '}',
    'function number(place) { return v[place] }',
    'return { read, write, number }',
  ].join('\n')
  const make = new Function('columns', 'cursor', 'textHash', 'symbols', source)
  const made = make(
    names.map((name) => block.columns.get(name)),
    new AvroCursor(),
    textHash,
    fields.map(({ type }) => (type.kind === 'enum' ? type.symbols.map(keyText) : null)),
  ) as Omit<AvroRows, 'placeOf'>
  return { ...made, placeOf: (field) => names.indexOf(field) }
}

function isSame(one: AvroField, other: AvroField): boolean {
  return one.name === other.name && JSON.stringify(one.type) === JSON.stringify(other.type)
}

/** Null for a pair that has no way of its own. */
function planOf(type: AvroType, column: ColumnType | undefined): Plan | null {
  switch (type.kind) {
    case 'primitive':
      if (type.type === 'string') return textPlan(column, false)
      if (type.type === 'boolean') return column === 'Bool' ? 'boolean' : null
      if (type.type === 'int') return column === 'Int32' ? 'int' : null
      if (type.type === 'float') return column === 'Float32' ? 'float' : null
      if (type.type !== 'long') return null
      return column === 'Int64' || column === 'UInt64' || column === "DateTime64(3, 'UTC')" ? 'long' : null
    case 'enum':
      return column === 'LowCardinality(String)' ? 'symbol' : null
    case 'array':
      return column === 'Array(Float32)' && primitiveOf(type.items) === 'float' ? 'floats' : null
    case 'union': {
      const [first, second] = type.branches.map(primitiveOf)
      return type.branches.length === 2 && first === 'null' && second === 'string' ? textPlan(column, true) : null
    }
    case 'fixed':
    case 'map':
    case 'record':
      return null
  }
}

const primitiveOf = (type: AvroType): string => (type.kind === 'primitive' ? type.type : type.kind)

function textPlan(column: ColumnType | undefined, nullable: boolean): Plan | null {
  if (column === (nullable ? 'Nullable(String)' : 'String')) return nullable ? 'nullable-text' : 'text'
  if (column === (nullable ? 'LowCardinality(Nullable(String))' : 'LowCardinality(String)')) {
    return nullable ? 'nullable-key' : 'key'
  }
  return null
}

const DOUBT = 'return false'

function readCode(plan: Plan, at: number, type: AvroType, column: ColumnType): readonly string[] {
  const start = `p[${3 * at}]`
  const count = `p[${3 * at + 1}]`
  const hash = `p[${3 * at + 2}]`
  const text = [
    ...readLong('n'),
    `if (n < 0 || n > end - pos) ${DOUBT}`,
    `${start} = pos; ${count} = n`,
    ...(plan.endsWith('key') ? [`if (c${at}.isLast(view, pos, n)) ${hash} = -1`, 'else {'] : ['{']),
    'n = textHash(bytes, view, pos, n)',
    `if (n < 0) ${DOUBT}`,
    `${hash} = n`,
    '}',
    `pos += ${count}`,
  ]
  switch (plan) {
    case 'text':
    case 'key':
      return text
    case 'nullable-text':
    case 'nullable-key':
      return [
        `if (pos >= end) ${DOUBT}`,
        'b = bytes[pos++]',
        `if (b === 0) ${count} = -1`,
        'else if (b === 2) {',
        ...text,
        `} else ${DOUBT}`,
      ]
    case 'symbol': {
      const symbols = type.kind === 'enum' ? type.symbols.length : 0
      return [...readLong('n'), `if (!(n >= 0 && n < ${symbols})) ${DOUBT}`, `${start} = n`]
    }
    case 'boolean':
      return [`if (pos >= end || bytes[pos] > 1) ${DOUBT}`, `${start} = bytes[pos++]`]
    case 'int':
    case 'long': {
      const { from, to } = rangeOf(column)
      const value = plan === 'int' ? start : `v[${at}]`
      return [...readLong('n'), `if (!(n >= ${from} && n <= ${to})) ${DOUBT}`, `${value} = n`]
    }
    case 'float':
      return [`if (pos + 4 > end) ${DOUBT}`, `${start} = view.getInt32(pos, true)`, 'pos += 4']
    case 'floats':
      return [
        ...readLong('n'),
        `if (n < 0 || 4 * n > end - pos) ${DOUBT}`,
        `${start} = pos; ${count} = n; pos += 4 * n`,
        // one block, as every writer makes it
        `if (n > 0 && (pos >= end || bytes[pos++] !== 0)) ${DOUBT}`,
      ]
  }
}

function writeCode(plan: Plan, at: number): string {
  const start = `p[${3 * at}]`
  const count = `p[${3 * at + 1}]`
  const hash = `p[${3 * at + 2}]`
  const column = `c${at}`
  const key = `if (${hash} < 0) ${column}.setLast(row); else ${column}.set(row, source, ${start}, ${count}, ${hash})`
  switch (plan) {
    case 'text':
      return `${column}.append(source, ${start}, ${count})`
    case 'nullable-text':
      return `${column}.set(row, ${count} < 0, source, ${start}, ${count})`
    case 'key':
      return key
    case 'nullable-key':
      return `if (${count} < 0) ${column}.setNull(row); else ${key}`
    case 'symbol':
      return `${column}.setSymbol(row, ${start}, symbols[${at}][${start}])`
    case 'boolean':
      return `${column}.values[row] = ${start}`
    case 'int':
    case 'float':
      return `${column}.words[row] = ${start}`
    case 'long':
      return `${column}.values[row] = v[${at}]`
    case 'floats':
      return `${column}.set(row, source, ${start}, ${count})`
  }
}

/** Inline for the one or two bytes that most have. */
function readLong(name: string): readonly string[] {
  return [
    `if (pos >= end) ${DOUBT}`,
    'b = bytes[pos]',
    `if (b < 0x80) { ${name} = (b >>> 1) ^ -(b & 1); pos++ }`,
    'else if (pos + 1 < end && bytes[pos + 1] < 0x80) {',
    `b = (b & 0x7f) | (bytes[pos + 1] << 7); ${name} = (b >>> 1) ^ -(b & 1); pos += 2`,
    '}',
    `else { cursor.at = pos; ${name} = cursor.long(); if (${name} !== ${name}) ${DOUBT}; pos = cursor.at }`,
  ]
}
