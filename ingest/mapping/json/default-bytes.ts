import { writeLong } from '../../../infra/runtime/avro/avro-bytes.ts'
import { fatal } from '../../../infra/runtime/errors.ts'
import type { AvroRecord, AvroType } from '../../../schemas/pipeline/avro-schema.ts'
import { writeBigLong } from './exact-numbers.ts'

/** A default value of the schema as Avro: a union's is one of its first type, bytes are the characters' code points. */
export function defaultBytes(type: AvroType, value: unknown, field: string): Buffer {
  const unfit = (): Error => fatal('invalid_schema', `the default of ${field} is no value of its type`)
  switch (type.kind) {
    case 'primitive':
      return primitiveBytes(type.type, value) ?? raise(unfit())
    case 'enum': {
      const index = type.symbols.indexOf(value as string)
      return index < 0 ? raise(unfit()) : long(index)
    }
    case 'fixed': {
      const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : null
      return bytes?.length === type.size ? bytes : raise(unfit())
    }
    case 'array': {
      if (!Array.isArray(value)) throw unfit()
      const items = value.map((item: unknown) => defaultBytes(type.items, item, field))
      return blocks(items)
    }
    case 'map': {
      if (!isObject(value)) throw unfit()
      const entries = Object.entries(value).map(([key, member]) =>
        Buffer.concat([text(key), defaultBytes(type.values, member, field)]),
      )
      return blocks(entries)
    }
    case 'union': {
      const [first] = type.branches
      return first === undefined ? raise(unfit()) : Buffer.concat([long(0), defaultBytes(first, value, field)])
    }
    case 'record':
      return isObject(value) ? recordBytes(type, value, field) : raise(unfit())
  }
}

function raise(error: Error): never {
  throw error
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function recordBytes(record: AvroRecord, value: Readonly<Record<string, unknown>>, field: string): Buffer {
  return Buffer.concat(
    record.fields.map((inner) => {
      const given = Object.hasOwn(value, inner.name) ? value[inner.name] : inner.default
      return defaultBytes(inner.type, given, `${field}.${inner.name}`)
    }),
  )
}

function primitiveBytes(type: (AvroType & { readonly kind: 'primitive' })['type'], value: unknown): Buffer | null {
  switch (type) {
    case 'null':
      return value === null ? Buffer.alloc(0) : null
    case 'boolean':
      return typeof value === 'boolean' ? Buffer.from([value ? 1 : 0]) : null
    case 'int':
    case 'long':
      return Number.isInteger(value) ? bigLong(BigInt(value as number)) : null
    case 'float':
    case 'double': {
      if (typeof value !== 'number') return null
      const bytes = Buffer.alloc(type === 'float' ? 4 : 8)
      if (type === 'float') bytes.writeFloatLE(value)
      else bytes.writeDoubleLE(value)
      return bytes
    }
    case 'string':
      return typeof value === 'string' ? text(value) : null
    case 'bytes': {
      if (typeof value !== 'string') return null
      const bytes = Buffer.from(value, 'latin1')
      return Buffer.concat([long(bytes.length), bytes])
    }
  }
}

function blocks(items: readonly Buffer[]): Buffer {
  return items.length === 0 ? long(0) : Buffer.concat([long(items.length), ...items, long(0)])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([long(bytes.length), bytes])
}

function long(value: number): Buffer {
  const target = Buffer.alloc(10)
  return target.subarray(0, writeLong(target, 0, value))
}

function bigLong(value: bigint): Buffer {
  const target = Buffer.alloc(10)
  return target.subarray(0, writeBigLong(target, 0, value))
}
