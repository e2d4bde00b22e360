import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { pipelineTopics, SHARED_TOPICS, type TopicDeclaration } from '../../../schemas/topics.ts'
import { fatal } from '../../runtime/errors.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { KEPT_IN_SYNC, KEPT_REPLICAS } from '../../runtime/kafka/topic-checks.ts'

export interface DeclareOptions {
  /** Partitions of a pipeline's topics when its events topic does not exist yet. */
  readonly partitions: number
  /** One replica loses data with its broker: refused unless it is asked for. */
  readonly allowSingleReplica: boolean
}

export interface DeclaredTopic {
  readonly topic: string
  readonly partitions: number
  readonly state: 'created' | 'changed' | 'unchanged' | 'not ours'
}

/** The topics of a pipeline, as `schemas/topics.ts` needs them named. */
export function topicsOf(pipeline: CompiledPipeline): readonly TopicDeclaration[] {
  const { topic, owned, retentionMs } = pipeline.event
  return pipelineTopics({
    name: pipeline.name,
    event: { topic, owned, ...(retentionMs === null ? {} : { retentionMs }) },
    tables: pipeline.tables.map((table) => table.name),
    hasLabel: pipeline.label !== null,
  })
}

/**
 * Makes the topics that are missing and corrects the settings of those that are ours. Partitions are never added here:
 * an output with fewer partitions than there are lanes is an error.
 */
export async function declareTopics(
  admin: KafkaAdmin,
  pipeline: CompiledPipeline,
  options: DeclareOptions,
): Promise<readonly DeclaredTopic[]> {
  const own = topicsOf(pipeline)
  const declarations = [...SHARED_TOPICS, ...own]
  const existing = await admin.partitionCounts(declarations.map(({ name }) => name))
  const eventsPartitions = existing.get(pipeline.event.topic)
  if (!pipeline.event.owned && eventsPartitions === undefined) {
    throw fatal(
      'unknown_topic',
      `event.topic ${pipeline.event.topic} does not exist, and it is not Millrace's to create`,
    )
  }
  const lanes = eventsPartitions ?? options.partitions
  const replicas = await replicaCount(admin, options)

  const declared: DeclaredTopic[] = []
  for (const declaration of declarations) {
    const partitions = declaration.partitions === 'lanes' ? lanes : 1
    const present = existing.get(declaration.name)
    declared.push({
      topic: declaration.name,
      partitions: present ?? partitions,
      state: await declareTopic(admin, declaration, { present, partitions, replicas }),
    })
  }
  return declared
}

async function replicaCount(admin: KafkaAdmin, options: DeclareOptions): Promise<number> {
  const brokers = await admin.brokerCount()
  if (brokers >= KEPT_REPLICAS) return KEPT_REPLICAS
  if (options.allowSingleReplica) return 1
  throw fatal(
    'too_few_brokers',
    `the cluster has ${brokers} broker(s); ${KEPT_REPLICAS} replicas are needed to keep what is acknowledged (--allow-single-replica to go without)`,
  )
}

async function declareTopic(
  admin: KafkaAdmin,
  declaration: TopicDeclaration,
  wanted: { readonly present: number | undefined; readonly partitions: number; readonly replicas: number },
): Promise<DeclaredTopic['state']> {
  const { name, owned, grows } = declaration
  const config = topicConfig(declaration, wanted.replicas)
  if (wanted.present === undefined) {
    await admin.createTopic({ name, partitions: wanted.partitions, replicas: wanted.replicas, config })
    return 'created'
  }
  if (!owned) return 'not ours'
  const { present, partitions } = wanted
  if (grows && present < partitions) {
    throw fatal(
      'lanes_differ',
      `topic ${name} has ${present} partitions, but the pipeline has ${partitions} lanes: run millrace topics grow <folder> --lanes ${partitions}`,
    )
  }
  const actual = await admin.topicConfig(name, Object.keys(config))
  if (Object.entries(config).every(([key, value]) => actual.get(key) === value)) return 'unchanged'
  await admin.alterTopicConfig(name, config)
  return 'changed'
}

/**
 * Append time, because event time lives in the record: a record stamped years ago would fall to time retention within
 * minutes, one stamped ahead would be refused.
 */
function topicConfig(declaration: TopicDeclaration, replicas: number): Readonly<Record<string, string>> {
  return {
    'cleanup.policy': declaration.cleanup,
    'retention.ms': String(declaration.retentionMs),
    'max.message.bytes': String(declaration.maxMessageBytes),
    'message.timestamp.type': 'LogAppendTime',
    'unclean.leader.election.enable': 'false',
    'min.insync.replicas': replicas >= KEPT_REPLICAS ? String(KEPT_IN_SYNC) : '1',
  }
}
