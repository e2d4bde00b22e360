import { type AvroRecord, type AvroType, parseRecordSchema } from '../../schemas/pipeline/avro-schema.ts'
import type { AvroSchema, CompiledHttpMapping } from '../../schemas/pipeline/compiled.ts'

const INT = { minimum: -2_147_483_648, maximum: 2_147_483_647 }
const LONG = {
  description: 'Digits in a string, too: for clients whose numbers are not exact beyond 2^53.',
  anyOf: [
    { type: 'integer', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER },
    { type: 'string', pattern: '^-?(0|[1-9][0-9]{0,18})$' },
  ],
}

/** JSON Schema of a record as a request may have it, for the document; the reader of its bodies decides. */
export function recordSchema(
  title: string,
  avro: AvroSchema,
  about: { readonly madeUp: string | null; readonly mapping: CompiledHttpMapping | null },
): object {
  const { madeUp, mapping } = about
  const record = parseRecordSchema(avro)
  const mapped = new Set([...(mapping?.constants ?? []), ...(mapping?.headers ?? [])].map(({ field }) => field))
  const renamed = new Set(mapping?.rename.map(({ to }) => to))
  const others = (mapping?.rename.length ?? 0) + (mapping?.drop.length ?? 0) > 0
  const fields = record.fields.filter(({ name }) => !mapped.has(name))
  const required = fields.filter(
    (field) => field.default === undefined && field.name !== madeUp && !renamed.has(field.name),
  )
  return {
    title,
    ...objectSchema({ ...record, fields }, []),
    required: required.map(({ name }) => name),
    additionalProperties: others,
  }
}

function objectSchema({ doc, fields }: AvroRecord, around: readonly AvroRecord[]) {
  const properties = fields.map(({ name, type, doc: about }) => {
    const schema = typeSchema(type, around)
    return [name, about === null ? schema : { ...schema, description: about }]
  })
  return {
    type: 'object',
    ...(doc === null ? {} : { description: doc }),
    properties: Object.fromEntries(properties) as object,
  }
}

/** `around`: the records that this is a part of, as a record may hold itself. */
function typeSchema(type: AvroType, around: readonly AvroRecord[]): object {
  switch (type.kind) {
    case 'record': {
      if (around.includes(type)) return { type: 'object' }
      const required = type.fields.filter((field) => field.default === undefined).map(({ name }) => name)
      return { ...objectSchema(type, [...around, type]), required, additionalProperties: false }
    }
    case 'enum':
      return { type: 'string', enum: type.symbols }
    case 'fixed':
      return { type: 'string' }
    case 'array':
      return { type: 'array', items: typeSchema(type.items, around) }
    case 'map':
      return { type: 'object', additionalProperties: typeSchema(type.values, around) }
    case 'union':
      return { anyOf: type.branches.map((branch) => typeSchema(branch, around)) }
    case 'primitive':
      return primitiveSchema(type.type)
  }
}

function primitiveSchema(type: Extract<AvroType, { kind: 'primitive' }>['type']): object {
  switch (type) {
    case 'null':
    case 'boolean':
    case 'string':
      return { type }
    case 'bytes':
      return { type: 'string' }
    case 'int':
      return { type: 'integer', ...INT }
    case 'long':
      return LONG
    case 'float':
    case 'double':
      return { type: 'number' }
  }
}
