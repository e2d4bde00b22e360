import avro from 'avsc'
import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { fatal, rejected } from '../errors.ts'
import { boundBlocks } from './bounded-blocks.ts'
import { exactLongs } from './exact-longs.ts'
import { WIRE_HEADER_BYTES, writeWireHeader } from './wire-format.ts'

boundBlocks(avro.types)
exactLongs(avro.types)

/**
 * A parsed schema; times stay epoch milliseconds, an unambiguous union's value is the bare value. A long that is no safe
 * integer is a bigint.
 */
export interface AvroType {
  /** Record with the wire-format header. Throws `invalid_record` (reject) that names the field. */
  encode(schemaId: number, record: unknown): Buffer
  /** What is wrong with a record: the first bad field and its value's type; null when it is valid. */
  problem(record: unknown): string | null
  /** The first field of a record that the schema does not have, as in `engine.fule`; `encode` would leave it out. */
  undeclared(record: unknown): string | null
  /** Reader of values that `writer` wrote, to this schema's shape; throws `incompatible_schema` (reject) if there is none. */
  readerOf(writer: AvroType): (value: Buffer) => unknown
  /** The vendor's type, for `readerOf`. */
  readonly native: avro.Type
}

function undeclaredField(path: readonly string[], value: unknown, type: avro.Type): string | null {
  if (!(type instanceof avro.types.RecordType) || typeof value !== 'object' || value === null) return null
  const declared = new Set(type.fields.map(({ name }) => name))
  const name = Object.keys(value).find((key) => !declared.has(key))
  return name === undefined ? null : [...path, name].join('.')
}

/** Encodes into one slab that grows to the largest record; records are copied out of it. */
let slab = Buffer.allocUnsafe(16_384)

export function parseAvroSchema(schema: AvroSchema | string, name: string): AvroType {
  let native: avro.Type
  try {
    const json: unknown = typeof schema === 'string' ? JSON.parse(schema) : structuredClone(schema)
    native = avro.Type.forSchema(json as avro.Schema, { wrapUnions: 'auto' })
  } catch (error) {
    throw fatal('invalid_schema', `${name} is not a valid Avro schema: ${(error as Error).message}`, error)
  }
  return avroType(native)
}

function avroType(native: avro.Type): AvroType {
  const problem = (record: unknown): string | null => {
    let found: string | null = null
    native.isValid(record, {
      errorHook: (path, value, type) => {
        found ??= `${path.join('.') || 'record'} is ${describe(value)}, which is no ${typeText(type)}`
      },
    })
    return found
  }
  return {
    native,
    problem,
    undeclared(record) {
      let found: string | null = null
      native.isValid(record, {
        noUndeclaredFields: true,
        errorHook: (path, value, type) => {
          found ??= undeclaredField(path, value, type)
        },
      })
      return found
    },
    encode(schemaId, record) {
      for (;;) {
        let end: number
        try {
          end = native.encode(record, slab, WIRE_HEADER_BYTES)
        } catch (error) {
          throw rejected('invalid_record', problem(record) ?? (error as Error).message, error)
        }
        if (end >= 0) {
          writeWireHeader(slab, schemaId)
          return Buffer.from(slab.subarray(0, end))
        }
        slab = Buffer.allocUnsafe(slab.length * 2)
      }
    },
    readerOf(writer) {
      let resolver: ReturnType<avro.Type['createResolver']> | undefined
      try {
        resolver = writer.native === native ? undefined : native.createResolver(writer.native)
      } catch (error) {
        throw rejected('incompatible_schema', (error as Error).message, error)
      }
      return (value) => {
        const decoded = native.decode(value, WIRE_HEADER_BYTES, resolver)
        if (decoded.offset < 0) throw rejected('undecodable', 'the value ends in the middle of the record')
        if (decoded.offset !== value.length) {
          throw rejected('undecodable', `${value.length - decoded.offset} bytes follow the record`)
        }
        return decoded.value
      }
    },
  }
}

/** Records of an Avro container file, in its order. The file's own schema is the writer's. */
export async function* readAvroFile(file: string): AsyncGenerator<unknown> {
  const decoder = avro.createFileDecoder(file)
  try {
    for await (const record of decoder) yield record
  } finally {
    decoder.destroy()
  }
}

/** JSON of a schema that another library parsed. */
export function schemaJson(type: { schema(options?: { exportAttrs?: boolean }): unknown }): AvroSchema {
  return JSON.parse(JSON.stringify(type.schema({ exportAttrs: true }))) as AvroSchema
}

function describe(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`
}

function typeText(type: avro.Type): string {
  const schema: unknown = type.schema()
  return typeof schema === 'string' ? schema : JSON.stringify(schema)
}
