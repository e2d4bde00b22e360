import type { AvroField, AvroRecord, AvroType } from '../../schemas/pipeline/avro-schema.ts'

/** Of the Open Inference Protocol, as far as Avro fields have a type that holds exactly the same values. */
export type Datatype = 'BOOL' | 'INT32' | 'INT64' | 'FP32' | 'FP64' | 'BYTES'

export const DATATYPES: readonly Datatype[] = ['BOOL', 'INT32', 'INT64', 'FP32', 'FP64', 'BYTES']

export interface InputColumn {
  readonly name: string
  readonly datatype: Datatype
  /** Left out: `null` in every row, what the reader has for it (`default`), or refused. */
  readonly absent: 'null' | 'default' | 'refused'
  /** May have null in its JSON data. */
  readonly nullable: boolean
}

/**
 * The columns that events are given in: the fields but those that requests do not give (`mapped`). The id is made up where there is
 * none. Fields that are no single value have no column, and can only be left out.
 */
export function inputColumns(record: AvroRecord, idField: string, mapped: ReadonlySet<string>): readonly InputColumn[] {
  const given = record.fields.filter(({ name }) => !mapped.has(name))
  return given.flatMap((field) => columnOf(field, field.default !== undefined || field.name === idField) ?? [])
}

function columnOf({ name, type }: AvroField, hasDefault: boolean): InputColumn | null {
  const branches = type.kind === 'union' ? type.branches : [type]
  const [only, ...others] = branches.filter((branch) => !isNull(branch))
  const datatype = only === undefined || others.length > 0 ? null : datatypeOf(only)
  if (datatype === null) return null
  const nullable = branches.some(isNull)
  return { name, datatype, nullable, absent: hasDefault ? 'default' : nullable ? 'null' : 'refused' }
}

function isNull(type: AvroType): boolean {
  return type.kind === 'primitive' && type.type === 'null'
}

function datatypeOf(type: AvroType): Datatype | null {
  if (type.kind === 'enum') return 'BYTES'
  if (type.kind !== 'primitive') return null
  switch (type.type) {
    case 'boolean':
      return 'BOOL'
    case 'int':
      return 'INT32'
    case 'long':
      return 'INT64'
    case 'float':
      return 'FP32'
    case 'double':
      return 'FP64'
    case 'string':
      return 'BYTES'
    case 'bytes':
    case 'null':
      return null
  }
}

const WIDTH = { BOOL: 1, INT32: 4, INT64: 8, FP32: 4, FP64: 8 } as const
const LENGTH_BYTES = 4
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Binary tensor data: little-endian values without gaps, BOOL as a byte, BYTES as a 4-byte length before each. Values as JSON text.
 * Null when they are not exactly `rows` values of that type; throws TypeError when text is not UTF-8.
 */
export function binaryValues(bytes: Buffer, datatype: Datatype, rows: number): readonly string[] | null {
  if (datatype === 'BYTES') return texts(bytes, rows)
  if (bytes.length !== rows * WIDTH[datatype]) return null
  const values: string[] = []
  for (let row = 0; row < rows; row++) {
    const value = valueAt(bytes, datatype, row * WIDTH[datatype])
    if (value === null) return null
    values.push(value)
  }
  return values
}

function valueAt(bytes: Buffer, datatype: Exclude<Datatype, 'BYTES'>, at: number): string | null {
  switch (datatype) {
    case 'BOOL': {
      const byte = bytes[at] ?? 0
      return byte > 1 ? null : String(byte === 1)
    }
    case 'INT32':
      return String(bytes.readInt32LE(at))
    case 'INT64':
      return String(bytes.readBigInt64LE(at))
    case 'FP32':
      return finiteText(bytes.readFloatLE(at))
    case 'FP64':
      return finiteText(bytes.readDoubleLE(at))
  }
}

function texts(bytes: Buffer, rows: number): readonly string[] | null {
  const values: string[] = []
  let at = 0
  while (at + LENGTH_BYTES <= bytes.length && values.length < rows) {
    const end = at + LENGTH_BYTES + bytes.readUInt32LE(at)
    if (end > bytes.length) return null
    values.push(JSON.stringify(utf8.decode(bytes.subarray(at + LENGTH_BYTES, end))))
    at = end
  }
  return values.length === rows && at === bytes.length ? values : null
}

/** A number of JSON tensor data that is not written as JavaScript would write it, so perhaps none that it holds: by its text. */
export class Digits {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/**
 * A value of JSON tensor data as JSON text, a number as it was written; null = it is none of that type. Whether a number is in the
 * range of its type is for the reader of the events to say.
 */
export function jsonValue(value: unknown, { datatype, nullable }: InputColumn): string | null {
  if (value === null) return nullable ? 'null' : null
  switch (datatype) {
    case 'BOOL':
      return typeof value === 'boolean' ? String(value) : null
    case 'BYTES':
      return typeof value === 'string' ? JSON.stringify(value) : null
    case 'INT32':
    case 'INT64':
    case 'FP32':
    case 'FP64':
      if (value instanceof Digits) return value.text
      return typeof value === 'number' ? String(value) : null
  }
}

function finiteText(value: number): string | null {
  if (!Number.isFinite(value)) return null
  return Object.is(value, -0) ? '-0' : String(value)
}

/** An answer's column, with null where JSON has no word for it. */
export interface OutputColumn {
  readonly name: string
  readonly datatype: 'FP32' | 'BYTES' | 'BOOL'
  readonly shape: readonly number[]
  readonly data: readonly (number | string | boolean | null)[]
}

/** As binary tensor data; null is NaN, or an empty text. */
export function binaryData({ datatype, data }: OutputColumn): Buffer {
  if (datatype === 'BYTES') {
    return Buffer.concat(
      data.flatMap((text) => {
        const bytes = Buffer.from(String(text ?? ''))
        const length = Buffer.alloc(LENGTH_BYTES)
        length.writeUInt32LE(bytes.length)
        return [length, bytes]
      }),
    )
  }
  const bytes = Buffer.alloc(data.length * WIDTH[datatype])
  data.forEach((value, index) => {
    if (datatype === 'BOOL') bytes[index] = value === true ? 1 : 0
    else bytes.writeFloatLE(typeof value === 'number' ? value : Number.NaN, index * WIDTH.FP32)
  })
  return bytes
}
