import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { SchemaRegistry as Client, COMPATIBILITY } from '@kafkajs/confluent-schema-registry'
import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { fatal, MillraceError, rejected, retryable } from '../errors.ts'
import { schemaJson } from './avro-type.ts'

/** A Confluent-compatible schema registry. Every call may reject with `registry_unavailable` (retry). */
export interface SchemaRegistry {
  /**
   * Null when the registry has no schema of that id. Known schemas are kept for ever. Rejects with `unusable_schema`
   * (reject) when the schema is no Avro schema, or none that the Avro library takes.
   */
  schemaById(id: number): Promise<AvroSchema | null>
  /** Id of the schema under the subject; registers it when it is new. Rejects with `incompatible_schema` (crash). */
  register(subject: string, schema: AvroSchema): Promise<number>
}

export interface RegistryConfig {
  readonly url: string
  readonly username?: string | undefined
  readonly password?: string | undefined
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined
}

const NOT_FOUND = 404

/** Levels under which a subject accepts what our readers need: a new schema reads old data. */
const ACCEPTED_LEVELS = [
  COMPATIBILITY.BACKWARD,
  COMPATIBILITY.BACKWARD_TRANSITIVE,
  COMPATIBILITY.FULL,
  COMPATIBILITY.FULL_TRANSITIVE,
]

export function createSchemaRegistry(config: RegistryConfig): SchemaRegistry {
  const agent = config.url.startsWith('https:')
    ? new HttpsAgent({ keepAlive: true, ...config.tls })
    : new HttpAgent({ keepAlive: true })
  const client = new Client({
    host: config.url.replace(/\/$/, ''),
    agent,
    retry: { retries: 2, maxRetryTimeInSecs: 2 },
    ...(config.username === undefined ? {} : { auth: { username: config.username, password: config.password ?? '' } }),
  })
  const registered = new Map<string, number>()

  return {
    async schemaById(id) {
      try {
        const found: object = await client.getSchema(id)
        if ('schema' in found) return schemaJson(found as Parameters<typeof schemaJson>[0])
      } catch (error) {
        if (statusOf(error) === NOT_FOUND) return null
        // without a status it came after the answer; one that is no JSON (a proxy's page) is not the registry's
        if (statusOf(error) === null && !(error instanceof SyntaxError)) {
          throw rejected('unusable_schema', `schema ${id} cannot be used: ${(error as Error).message}`, error)
        }
        throw registryError(error, `schema ${id}`)
      }
      throw rejected('unusable_schema', `schema ${id} is no Avro schema`)
    },

    async register(subject, schema) {
      const cacheKey = `${subject}\n${JSON.stringify(schema)}`
      const known = registered.get(cacheKey)
      if (known !== undefined) return known
      const id = (await lookUp(client, subject, schema)) ?? (await registerOrFind(client, subject, schema))
      registered.set(cacheKey, id)
      return id
    },
  }
}

/** Null when the subject has no such schema. */
async function lookUp(client: Client, subject: string, schema: AvroSchema): Promise<number | null> {
  try {
    return await client.getRegistryIdBySchema(subject, avroSchema(schema))
  } catch (error) {
    // the client puts an error of its own in the place of a 404, without its status
    if ((error as Error).name === 'ConfluentSchemaRegistryError') return null
    throw registryError(error, subject)
  }
}

/** Two that register one new schema at the same time may be answered with a conflict: then the other one's counts. */
async function registerOrFind(client: Client, subject: string, schema: AvroSchema): Promise<number> {
  try {
    return await registerAtAcceptedLevel(client, subject, schema)
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'incompatible_schema') throw error
    const id = await lookUp(client, subject, schema)
    if (id === null) throw error
    return id
  }
}

function avroSchema(schema: AvroSchema): Parameters<Client['register']>[0] {
  return { type: 'AVRO', schema: JSON.stringify(schema) } as Parameters<Client['register']>[0]
}

async function registerAtAcceptedLevel(client: Client, subject: string, schema: AvroSchema): Promise<number> {
  for (const compatibility of ACCEPTED_LEVELS) {
    try {
      return (await client.register(avroSchema(schema), { subject, compatibility })).id
    } catch (error) {
      if ((error as Error).name !== 'ConfluentSchemaRegistryCompatibilityError') throw registryError(error, subject)
    }
  }
  throw fatal(
    'incompatible_schema',
    `subject ${subject} must be BACKWARD compatible (or stricter), its compatibility level is another`,
  )
}

function statusOf(error: unknown): number | null {
  return error instanceof Error && 'status' in error && typeof error.status === 'number' ? error.status : null
}

function registryError(error: unknown, what: string): MillraceError {
  const message = (error as Error).message
  switch (statusOf(error)) {
    case 401:
    case 403:
      return fatal('registry_refused', `the schema registry refused access to ${what}: ${message}`, error)
    case 409:
      return fatal(
        'incompatible_schema',
        `the registry refused the schema of ${what} as incompatible: ${message}`,
        error,
      )
    case 422:
      return fatal('invalid_schema', `the registry refused the schema of ${what}: ${message}`, error)
    default:
      return retryable('registry_unavailable', `the schema registry did not answer for ${what}: ${message}`, error)
  }
}
