import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TopicContracts } from '../../schemas/asyncapi.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { valueSubject } from '../../schemas/topics.ts'
import { type AvroType, parseAvroSchema } from './avro/avro-type.ts'
import type { StageContext } from './stage-process.ts'

/** One of our own contracts, by the name of its file in schemas/avro. */
export async function readContract(name: string): Promise<AvroSchema> {
  const file = join(import.meta.dirname, '../../schemas/avro', `${name}.avsc`)
  return JSON.parse(await readFile(file, 'utf8')) as AvroSchema
}

/** Those of a pipeline's topics. */
export async function readTopicContracts(): Promise<TopicContracts> {
  return {
    featureVector: await readContract('feature-vector'),
    prediction: await readContract('prediction'),
    deadLetter: await readContract('dead-letter'),
  }
}

export interface RegisteredType {
  readonly type: AvroType
  readonly schemaId: number
}

/** The contract, ready to encode values of the topic; registered under the topic's subject if it was not. */
export async function registerContract(
  context: Pick<StageContext, 'registry'>,
  contract: string,
  topic: string,
): Promise<RegisteredType> {
  const schema = await readContract(contract)
  return {
    type: parseAvroSchema(schema, contract),
    schemaId: await context.registry.register(valueSubject(topic), schema),
  }
}

/** A value that may need several tries to get, and nothing to stop. */
export async function once<T>(context: Pick<StageContext, 'start'>, name: string, get: () => Promise<T>): Promise<T> {
  return await context.start(name, async () => ({ value: await get(), stop: async () => {} }))
}
