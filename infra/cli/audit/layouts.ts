import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import { fateOf } from '../../runtime/errors.ts'

/** Which registry ids have values that begin like one of our contracts, so that the bytes can be read by position. */
export interface Layouts {
  /** Looks up the ids that are new. Rejects with `registry_unavailable` (retry). */
  prepare(ids: Iterable<number>): Promise<void>
  /** Of an id that was prepared. */
  known(id: number): boolean
}

export function createLayouts(registry: SchemaRegistry, contract: AvroSchema, lastField: string): Layouts {
  const wanted = leadingFields(contract, lastField)
  const known = new Map<number, boolean>()
  return {
    async prepare(ids) {
      for (const id of ids) {
        if (!known.has(id)) known.set(id, await hasLayout(registry, id, wanted, lastField))
      }
    },
    known: (id) => known.get(id) === true,
  }
}

async function hasLayout(registry: SchemaRegistry, id: number, wanted: string, lastField: string): Promise<boolean> {
  try {
    const schema = await registry.schemaById(id)
    return schema !== null && leadingFields(schema, lastField) === wanted
  } catch (error) {
    if (fateOf(error) === 'reject') return false
    throw error
  }
}

/** Names and types of the fields up to this one, as they decide the bytes. */
function leadingFields(schema: AvroSchema, lastField: string): string {
  const fields = Array.isArray(schema['fields']) ? (schema['fields'] as readonly { name: string; type: unknown }[]) : []
  const last = fields.findIndex(({ name }) => name === lastField)
  return JSON.stringify(fields.slice(0, last + 1).map(({ name, type }) => [name, encodingOf(type)]))
}

function encodingOf(type: unknown): unknown {
  if (Array.isArray(type)) return type.map(encodingOf)
  if (typeof type !== 'object' || type === null) return type
  const { type: base, symbols, items, values } = type as Readonly<Record<string, unknown>>
  if (base === 'enum') return { symbols }
  if (base === 'array') return { items: encodingOf(items) }
  if (base === 'map') return { values: encodingOf(values) }
  return encodingOf(base)
}
