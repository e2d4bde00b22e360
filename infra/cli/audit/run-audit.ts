import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import { describeError, fatal } from '../../runtime/errors.ts'
import type { KafkaConnections } from '../../runtime/kafka/connections/connections.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'
import { readContract } from '../../runtime/stage-contracts.ts'
import { patiently } from '../patiently.ts'
import { auditLane, type LaneReport } from './audit-lane.ts'
import { isFaulty } from './findings.ts'
import { createLayouts } from './layouts.ts'
import { type AuditWindow, auditTopics, planLanes } from './plan.ts'

export interface AuditDeps {
  readonly pipeline: CompiledPipeline
  readonly connections: KafkaConnections
  readonly admin: KafkaAdmin
  readonly reader: LogReader
  readonly registry: SchemaRegistry
  readonly clickhouse: ClickHouseClient
  readonly now: number
}

export interface AuditOptions {
  readonly window: AuditWindow
  /** Of each kind and lane. */
  readonly maxExamples: number
}

export interface AuditResult {
  readonly pipeline: string
  /** `unknown`: nothing wrong was found, and not everything could be looked at. */
  readonly verdict: 'exact' | 'violated' | 'unknown'
  readonly problems: readonly string[]
  readonly lanes: readonly LaneReport[]
}

/** Lanes at once: one is fetched while another one is decoded. */
const LANES_AT_ONCE = 2
const PATIENCE_MS = 20_000

/** Rejects where nothing could be looked at. */
export async function runAudit(deps: AuditDeps, options: AuditOptions): Promise<AuditResult> {
  const { pipeline, connections, clickhouse, registry } = deps
  const problems: string[] = []
  const before = await topicIds(connections, pipeline)
  // a coordinator that has just moved does not answer at once
  const patience = { say: () => {}, signal: AbortSignal.timeout(PATIENCE_MS) }
  const plans = await patiently('planning', () => planLanes(deps, pipeline, options.window), patience)
  const answers = await clickhouse.ping().then(
    () => true,
    (error: unknown) => {
      problems.push(`ClickHouse was not asked: ${describeError(error).message}`)
      return false
    },
  )
  const sources = {
    ...deps,
    clickhouse: answers ? clickhouse : null,
    generations: before,
    layouts: {
      outputs: createLayouts(registry, await readContract('feature-vector'), 'origin_offset'),
      predictions: createLayouts(registry, await readContract('prediction'), 'role'),
      letters: createLayouts(registry, await readContract('dead-letter'), 'origin_offset'),
    },
    maxExamples: options.maxExamples,
  }
  const lanes = await inParallel(plans, LANES_AT_ONCE, (plan) => auditLane(sources, plan))
  const after = await topicIds(connections, pipeline)
  for (const [topic, id] of before) {
    if (after.get(topic) !== id) throw fatal('topic_recreated', `${topic} was deleted and made again during the audit`)
  }
  const isViolated = lanes.some(
    ({ events, predictions, labels }) =>
      isFaulty(events.faults) || [predictions, labels].some((store) => store !== null && isFaulty(store.faults)),
  )
  const verdict = isViolated ? 'violated' : problems.length > 0 ? 'unknown' : 'exact'
  return { pipeline: pipeline.name, verdict, problems, lanes }
}

async function topicIds(
  connections: KafkaConnections,
  pipeline: CompiledPipeline,
): Promise<ReadonlyMap<string, string>> {
  const names = Object.values(auditTopics(pipeline)).filter((topic) => topic !== null)
  const topics = await connections.topics(names)
  return new Map(
    names.map((name) => {
      const topic = topics.get(name)
      if (topic === undefined) throw fatal('unknown_topic', `topic ${name} does not exist: run millrace topics`)
      return [name, topic.id]
    }),
  )
}

async function inParallel<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = []
  const waiting = items.entries()
  const worker = async (): Promise<void> => {
    for (const [index, item] of waiting) results[index] = await work(item)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return results
}
