/** The names, layout and retention of every topic a pipeline has. */

const DAY_MS = 86_400_000

export type StageTopic = 'features' | 'predictions' | 'shadow' | 'labels' | 'dead-letters'
export type TopicKey = 'event-key' | 'event-id' | 'table-key' | 'stage' | 'pipeline' | 'subject'

export interface TopicDeclaration {
  readonly name: string
  /** `lanes`: as many partitions as the pipeline has lanes. */
  readonly partitions: 'lanes' | 1
  readonly key: TopicKey
  readonly cleanup: 'delete' | 'compact'
  /** -1 = for ever. */
  readonly retentionMs: number
  /** False for an events topic that existed before the pipeline: its settings are not ours. */
  readonly owned: boolean
}

export const CONTROL_TOPIC = 'millrace.control'
export const STAGE_METRICS_TOPIC = 'millrace.stage-metrics'
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

/** Registry subject of a topic's values. */
export function valueSubject(topic: string): string {
  return `${topic}-value`
}

/** Every topic of one pipeline; outputs come before the events topic, the order in which partitions may grow. */
export function pipelineTopics(pipeline: PipelineTopicsInput): readonly TopicDeclaration[] {
  const eventRetentionMs = pipeline.event.retentionMs ?? 7 * DAY_MS
  const lane = (topic: StageTopic, retentionMs: number, key: TopicKey = 'event-key'): TopicDeclaration => ({
    name: stageTopic(pipeline.name, topic),
    partitions: 'lanes',
    key,
    cleanup: 'delete',
    retentionMs,
    owned: true,
  })
  return [
    lane('predictions', 7 * DAY_MS),
    lane('dead-letters', 30 * DAY_MS),
    lane('shadow', DAY_MS),
    lane('features', eventRetentionMs),
    ...(pipeline.hasLabel ? [lane('labels', 7 * DAY_MS, 'event-id')] : []),
    ...pipeline.tables.map(
      (table): TopicDeclaration => ({
        name: tableTopic(pipeline.name, table),
        partitions: 'lanes',
        key: 'table-key',
        cleanup: 'compact',
        retentionMs: -1,
        owned: true,
      }),
    ),
    {
      name: pipeline.event.topic,
      partitions: 'lanes',
      key: 'event-key',
      cleanup: 'delete',
      retentionMs: eventRetentionMs,
      owned: pipeline.event.owned,
    },
  ]
}

/** Topics that all pipelines share. */
export const SHARED_TOPICS: readonly TopicDeclaration[] = [
  { name: CONTROL_TOPIC, partitions: 1, key: 'subject', cleanup: 'delete', retentionMs: -1, owned: true },
  { name: STAGE_METRICS_TOPIC, partitions: 1, key: 'stage', cleanup: 'delete', retentionMs: DAY_MS, owned: true },
  { name: ALERTS_TOPIC, partitions: 1, key: 'pipeline', cleanup: 'delete', retentionMs: 30 * DAY_MS, owned: true },
]
