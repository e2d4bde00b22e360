import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { consumerGroup, stageTopic } from '../../../schemas/topics.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { endOf } from './accounting.ts'
import { type MonthQuality, qualityByMonth } from './quality.ts'

/** What a pipeline is doing, read from Kafka and ClickHouse alone: the same for any deployment. */
export interface Snapshot {
  /** Monotonic ms. */
  readonly at: number
  /** End offsets, summed over partitions. */
  readonly written: Readonly<Record<Flow, number>>
  /** Records that a stage has not committed yet. */
  readonly lag: Readonly<Record<'processors' | 'inference' | 'sinks', number>>
  /** From Kafka's append time of the event to that of its prediction, over the last 10 s of predictions, ms. */
  readonly latencyMs: { readonly p50: number; readonly p99: number } | null
  readonly deadLetters: readonly { readonly stage: string; readonly reason: string; readonly count: number }[]
  readonly months: readonly MonthQuality[]
}

export type Flow = 'events' | 'features' | 'predictions' | 'labels'

export interface SnapshotSource {
  take(): Promise<Snapshot>
}

/** Months are costly on a small machine: they are read again only this often. */
const QUALITY_INTERVAL_MS = 5_000

export function createSnapshots(
  pipeline: CompiledPipeline,
  admin: KafkaAdmin,
  clickhouse: ClickHouseClient,
): SnapshotSource {
  const { name, event, label } = pipeline
  let months: readonly MonthQuality[] = []
  let monthsAt = Number.NEGATIVE_INFINITY

  async function lagOf(topic: string, high: ReadonlyMap<number, number>, reader: string): Promise<number> {
    const committed = await admin.committed(consumerGroup(name, reader), topic)
    return sum([...high].map(([partition, end]) => Math.max(0, end - (committed.get(partition) ?? 0))))
  }

  async function latency(): Promise<Snapshot['latencyMs']> {
    const [row] = await clickhouse.rows<{ p50: number; p99: number; rows: string }>(
      `SELECT quantileExact(0.5)(ms) AS p50, quantileExact(0.99)(ms) AS p99, count() AS rows FROM (
         SELECT toFloat64(toUnixTimestamp64Milli(written_at) - toUnixTimestamp64Milli(ingested_at)) AS ms FROM predictions
         WHERE pipeline = {pipeline:String} AND ingested_at >= now() - INTERVAL 1 HOUR AND written_at >= now() - INTERVAL 10 SECOND
       )`,
      { pipeline: name },
    )
    return row === undefined || Number(row.rows) === 0 ? null : { p50: row.p50, p99: row.p99 }
  }

  async function deadLetters(): Promise<Snapshot['deadLetters']> {
    const rows = await clickhouse.rows<{ stage: string; reason: string; count: string }>(
      `SELECT stage, reason, count() AS count FROM dead_letters FINAL WHERE pipeline = {pipeline:String}
       GROUP BY stage, reason ORDER BY count DESC LIMIT 8`,
      { pipeline: name },
    )
    return rows.map(({ stage, reason, count }) => ({ stage, reason, count: Number(count) }))
  }

  return {
    async take() {
      const topics = {
        events: event.topic,
        features: stageTopic(name, 'features'),
        predictions: stageTopic(name, 'predictions'),
        labels: label?.topic ?? null,
      }
      const [events, features, predictions, labels] = await Promise.all([
        endOf(admin, topics.events),
        endOf(admin, topics.features),
        endOf(admin, topics.predictions),
        topics.labels === null ? new Map<number, number>() : endOf(admin, topics.labels),
      ])
      const [processors, inference, stored, storedLabels, latencyMs, letters] = await Promise.all([
        lagOf(topics.events, events, 'processors'),
        lagOf(topics.features, features, 'inference'),
        lagOf(topics.predictions, predictions, 'sinks.predictions'),
        topics.labels === null ? 0 : lagOf(topics.labels, labels, 'sinks.labels'),
        latency(),
        deadLetters(),
      ])
      if (label !== null && performance.now() - monthsAt > QUALITY_INTERVAL_MS) {
        months = await qualityByMonth(pipeline, clickhouse)
        monthsAt = performance.now()
      }
      return {
        at: performance.now(),
        written: {
          events: sum(events.values()),
          features: sum(features.values()),
          predictions: sum(predictions.values()),
          labels: sum(labels.values()),
        },
        lag: { processors, inference, sinks: stored + storedLabels },
        latencyMs,
        deadLetters: letters,
        months,
      }
    },
  }
}

function sum(values: Iterable<number>): number {
  let total = 0
  for (const value of values) total += value
  return total
}
