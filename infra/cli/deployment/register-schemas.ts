import type { AvroSchema, CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import {
  ALERTS_TOPIC,
  CONTROL_TOPIC,
  GATEWAY_REQUESTS_TOPIC,
  STAGE_METRICS_TOPIC,
  stageTopic,
  valueSubject,
} from '../../../schemas/topics.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import { readContract } from '../../runtime/stage-contracts.ts'

export interface RegisteredSubject {
  readonly subject: string
  readonly schemaId: number
}

/** Registers every schema of a pipeline; an incompatible change rejects with `incompatible_schema` (crash). */
export async function registerSchemas(
  registry: SchemaRegistry,
  pipeline: CompiledPipeline,
): Promise<readonly RegisteredSubject[]> {
  const registered: RegisteredSubject[] = []
  for (const [subject, schema] of await subjectsOf(pipeline)) {
    registered.push({ subject, schemaId: await registry.register(subject, schema) })
  }
  return registered
}

async function subjectsOf(pipeline: CompiledPipeline): Promise<readonly (readonly [string, AvroSchema])[]> {
  const contracts: readonly (readonly [topic: string, contract: string])[] = [
    [stageTopic(pipeline.name, 'features'), 'feature-vector'],
    [stageTopic(pipeline.name, 'predictions'), 'prediction'],
    [stageTopic(pipeline.name, 'shadow'), 'prediction'],
    [stageTopic(pipeline.name, 'dead-letters'), 'dead-letter'],
    [CONTROL_TOPIC, 'control-entry'],
    [STAGE_METRICS_TOPIC, 'stage-metrics'],
    [GATEWAY_REQUESTS_TOPIC, 'gateway-requests'],
    [ALERTS_TOPIC, 'alert'],
  ]
  const ours = contracts.map(async ([topic, contract]) => [valueSubject(topic), await readContract(contract)] as const)
  const { event, tables, label } = pipeline
  return [
    ...(event.owned ? [[event.subject, event.schema] as const] : []),
    ...tables.map(({ subject, schema }) => [subject, schema] as const),
    ...(label === null ? [] : [[label.subject, label.schema] as const]),
    ...(await Promise.all(ours)),
  ]
}
