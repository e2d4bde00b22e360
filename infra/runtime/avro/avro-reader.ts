import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import type { Clock } from '../clock.ts'
import { fateOf, rejected } from '../errors.ts'
import { type AvroType, parseAvroSchema } from './avro-type.ts'
import type { SchemaRegistry } from './schema-registry.ts'
import { wireSchemaId } from './wire-format.ts'

export type Decoded<T> =
  | { readonly ok: true; readonly record: T; readonly schemaId: number }
  /** The registry does not know the writer schema yet: defer the record, it may be known soon. */
  | { readonly ok: false; readonly pending: true; readonly message: string }
  | {
      readonly ok: false
      readonly pending: false
      readonly reason: 'not_avro' | 'unknown_schema' | 'undecodable' | 'incompatible_schema'
      readonly message: string
    }

/** Decodes values of any writer schema to one reader schema. */
export interface AvroReader<T> {
  /**
   * Fetches the writer schemas that are not at hand. An id that the registry does not know is pending and asked for
   * again at each call for `unknownSchemaWaitMs`; then it counts as unknown, and is not asked for, for as long again.
   * Rejects with `registry_unavailable` (retry).
   */
  prepare(values: Iterable<Buffer | null>): Promise<void>
  /** The same for the ids of values. */
  prepareIds(ids: Iterable<number>): Promise<void>
  /** What values of that id were written with; null unless it is known and can be read. */
  writerSchema(id: number): AvroSchema | null
  /** Call after `prepare` has seen the value. Never throws for what is in the value. */
  decode(value: Buffer | null): Decoded<T>
}

type Writer =
  | { readonly state: 'known'; readonly schema: AvroSchema; readonly read: (value: Buffer) => unknown }
  | { readonly state: 'incompatible'; readonly message: string }
  | { readonly state: 'unknown'; readonly since: number }

export interface AvroReaderOptions {
  readonly schema: AvroSchema
  readonly name: string
  readonly registry: SchemaRegistry
  readonly clock: Clock
  /** How long an id that the registry does not know is waited for: a producer may be ahead of a registry's replica. */
  readonly unknownSchemaWaitMs: number
}

export function createAvroReader<T>(options: AvroReaderOptions): AvroReader<T> {
  const { registry, clock, unknownSchemaWaitMs } = options
  const reader = parseAvroSchema(options.schema, options.name)
  const writers = new Map<number, Writer>()

  async function learn(id: number): Promise<void> {
    const before = writers.get(id)
    if (before !== undefined && before.state !== 'unknown') return
    const unknownForMs = before === undefined ? 0 : clock.now() - before.since
    if (unknownForMs > unknownSchemaWaitMs && unknownForMs <= 2 * unknownSchemaWaitMs) return
    const writer = await findWriter(registry, reader, id)
    if (writer !== null) {
      writers.set(id, writer)
      return
    }
    const kept = unknownForMs > 2 * unknownSchemaWaitMs ? undefined : before
    writers.set(id, { state: 'unknown', since: kept?.since ?? clock.now() })
  }

  async function prepareIds(ids: Iterable<number>): Promise<void> {
    for (const id of new Set(ids)) {
      if (writers.get(id)?.state !== 'known') await learn(id)
    }
  }

  return {
    prepareIds,
    prepare: (values) => prepareIds(idsOf(values)),
    writerSchema(id) {
      const writer = writers.get(id)
      return writer?.state === 'known' ? writer.schema : null
    },

    decode(value) {
      const schemaId = value === null ? null : wireSchemaId(value)
      if (value === null || schemaId === null) {
        return {
          ok: false,
          pending: false,
          reason: 'not_avro',
          message: 'the value is not in the Confluent Avro wire format',
        }
      }
      const writer = writers.get(schemaId)
      switch (writer?.state) {
        case 'known':
          try {
            return { ok: true, record: writer.read(value) as T, schemaId }
          } catch (error) {
            // whatever a decoder throws on hostile bytes is about these bytes alone
            return { ok: false, pending: false, reason: 'undecodable', message: (error as Error).message }
          }
        case 'incompatible':
          return { ok: false, pending: false, reason: 'incompatible_schema', message: writer.message }
        case 'unknown':
        case undefined: {
          const message = `the registry does not know schema ${schemaId}`
          const pending = writer === undefined || clock.now() - writer.since <= unknownSchemaWaitMs
          return pending ? { ok: false, pending, message } : { ok: false, pending, reason: 'unknown_schema', message }
        }
      }
    },
  }
}

function* idsOf(values: Iterable<Buffer | null>): Generator<number> {
  for (const value of values) {
    const id = value === null ? null : wireSchemaId(value)
    if (id !== null) yield id
  }
}

/** Null when the registry does not know the id. */
async function findWriter(registry: SchemaRegistry, reader: AvroType, id: number): Promise<Writer | null> {
  try {
    const schema = await registry.schemaById(id)
    return schema === null ? null : { state: 'known', schema, read: reader.readerOf(parseWriterSchema(schema, id)) }
  } catch (error) {
    if (fateOf(error) !== 'reject') throw error
    return {
      state: 'incompatible',
      message: `schema ${id} cannot be read as ${reader.native.name}: ${(error as Error).message}`,
    }
  }
}

/** A writer's schema that makes no sense here is about its records, not about this process. */
function parseWriterSchema(schema: AvroSchema, id: number): AvroType {
  try {
    return parseAvroSchema(schema, `schema ${id}`)
  } catch (error) {
    throw rejected('incompatible_schema', (error as Error).message, error)
  }
}
