/** The names, layout and retention of every topic a pipeline has. */

const DAY_MS = 86_400_000
/** The brokers' own default, made explicit. */
const RECORD_BYTES = 1_048_588
/** A dead letter holds a whole record and what was wrong with it. */
const DEAD_LETTER_BYTES = 2_097_152

export type StageTopic = 'features' | 'predictions' | 'shadow' | 'labels' | 'dead-letters'
export type TopicKey = 'event-key' | 'event-id' | 'table-key' | 'stage' | 'pipeline' | 'subject'

export interface TopicDeclaration {
  readonly name: string
  /** `lanes`: as many partitions as the pipeline has lanes. */
  readonly partitions: 'lanes' | 1
  /**
   * Whether it gets partitions when lanes are added. Not a table: the row of a key and what replaces it must stay in one
   * partition, else neither compaction nor a reader from the start knows which of them is the later one.
   */
  readonly grows: boolean
  readonly key: TopicKey
  readonly cleanup: 'delete' | 'compact'
  /** -1 = for ever. */
  readonly retentionMs: number
  /** Largest record batch that brokers accept. */
  readonly maxMessageBytes: number
  /** False for an events topic that existed before the pipeline: its settings are not ours. */
  readonly owned: boolean
}

export const CONTROL_TOPIC = 'millrace.control'
export const STAGE_METRICS_TOPIC = 'millrace.stage-metrics'
export const GATEWAY_REQUESTS_TOPIC = 'millrace.gateway-requests'
export const ALERTS_TOPIC = 'millrace.alerts'

export interface PipelineTopicsInput {
  readonly name: string
  readonly event: { readonly topic: string; readonly owned: boolean; readonly retentionMs?: number }
  readonly tables: readonly string[]
  readonly hasLabel: boolean
}

export function stageTopic(pipeline: string, topic: StageTopic): string {
  return `${pipeline}.${topic}`
}

export function eventsTopic(pipeline: string): string {
  return `${pipeline}.events`
}

export function tableTopic(pipeline: string, table: string): string {
  return `${pipeline}.${table}`
}

/** One consumer group per reader and input topic: `processors`, `inference`, `sinks.labels`, … */
export function consumerGroup(pipeline: string, reader: string): string {
  return `${pipeline}.${reader}`
}

/**
 * The one group of all pipelines whose sinks store a topic in one database: what belongs to no pipeline is stored once by whoever
 * of them is there.
 */
export function sharedGroup(reader: string, database: string): string {
  return `millrace.${reader}.${database}`
}

/** Registry subject of a topic's values. */
export function valueSubject(topic: string): string {
  return `${topic}-value`
}

/**
 * Every topic of one pipeline, each behind those that its readers write: the order in which partitions are added, so that
 * whoever reads a partition finds it in every topic that it writes. The events topic is the last.
 */
export function pipelineTopics(pipeline: PipelineTopicsInput): readonly TopicDeclaration[] {
  const eventRetentionMs = pipeline.event.retentionMs ?? 7 * DAY_MS
  const lane = (topic: StageTopic, retentionMs: number, key: TopicKey = 'event-key'): TopicDeclaration => ({
    name: stageTopic(pipeline.name, topic),
    partitions: 'lanes',
    grows: true,
    key,
    cleanup: 'delete',
    retentionMs,
    maxMessageBytes: topic === 'dead-letters' ? DEAD_LETTER_BYTES : RECORD_BYTES,
    owned: true,
  })
  return [
    lane('dead-letters', 30 * DAY_MS),
    lane('predictions', 7 * DAY_MS),
    lane('shadow', DAY_MS),
    lane('features', eventRetentionMs),
    ...(pipeline.hasLabel ? [lane('labels', 7 * DAY_MS, 'event-id')] : []),
    ...pipeline.tables.map(
      (table): TopicDeclaration => ({
        name: tableTopic(pipeline.name, table),
        partitions: 'lanes',
        grows: false,
        key: 'table-key',
        cleanup: 'compact',
        retentionMs: -1,
        maxMessageBytes: RECORD_BYTES,
        owned: true,
      }),
    ),
    {
      name: pipeline.event.topic,
      partitions: 'lanes',
      grows: true,
      key: 'event-key',
      cleanup: 'delete',
      retentionMs: eventRetentionMs,
      maxMessageBytes: RECORD_BYTES,
      owned: pipeline.event.owned,
    },
  ]
}

/** Topics that all pipelines share. */
export const SHARED_TOPICS: readonly TopicDeclaration[] = [
  shared(CONTROL_TOPIC, 'subject', -1),
  shared(STAGE_METRICS_TOPIC, 'stage', DAY_MS),
  shared(GATEWAY_REQUESTS_TOPIC, 'pipeline', 30 * DAY_MS),
  shared(ALERTS_TOPIC, 'pipeline', 30 * DAY_MS),
]

function shared(name: string, key: TopicKey, retentionMs: number): TopicDeclaration {
  return {
    name,
    partitions: 1,
    grows: false,
    key,
    cleanup: 'delete',
    retentionMs,
    maxMessageBytes: RECORD_BYTES,
    owned: true,
  }
}
