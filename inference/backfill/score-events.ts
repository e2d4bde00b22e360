import { fatal } from '../../infra/runtime/errors.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { type GroupPosition, groupPositions } from '../../infra/runtime/kafka/consumer/group-positions.ts'
import { laneBatch } from '../../infra/runtime/kafka/consumer/lane-batch.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import type { FeatureVector } from '../../schemas/generated/records.ts'
import type { HistoryRow } from './history.ts'
import { type BackfillWork, batchRows, createProgress, paced, storeScores } from './score-batch.ts'
import type { Scored } from './score-stored.ts'

/** The events topic, and what the processors make of it. */
export interface EventSource {
  readonly connections: KafkaConnections
  readonly reader: LogReader
  /** Vectors in the order of their events; `refused` events have none. Rejects with `retry` while one has to wait. */
  readonly vectorsOf: (
    batch: RecordBatch,
  ) => Promise<{ readonly vectors: readonly FeatureVector[]; readonly refused: number }>
}

/** The group in whose name a run keeps its position; nobody is a member. */
function backfillGroup({ pipeline, run }: { readonly pipeline: string; readonly run: string }): string {
  return `millrace.${pipeline}.backfill.${run}`
}

/**
 * Scores the events of the run's time that the topic still has, from where the run's group is to where the topic ends now. Rejects with
 * `position_lost` (crash) when the topic was made anew, or lost records while they were read.
 */
export async function scoreEvents(
  work: BackfillWork,
  source: EventSource,
): Promise<Scored & { readonly refused: number }> {
  const { pipeline, run, patiently } = work
  const { topic } = pipeline.event
  const { connections, reader, vectorsOf } = source
  const done = { rows: 0, problems: 0, refused: 0 }
  const progress = createProgress(work)
  const found = await patiently('the events topic', async () => (await connections.topics([topic])).get(topic))
  if (found === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist`)
  const positions = groupPositions(source, backfillGroup(run), topic)
  for (const position of await patiently('positions', () => positions.show())) {
    const { partition, log } = position
    for await (const set of reader.read(topic, partition, startOf(topic, position), log.end)) {
      for (const [from, to, next] of parts(set, batchRows(work))) {
        const batch = laneBatch({ topic, partition, generation: found.id }, set, from, to, 0)
        const scored = await paced(work, async () => {
          const { vectors, refused } = await vectorsOf(batch)
          const rows = vectors.filter((vector) => isIn(run, vector)).map((vector) => rowOf(vector, partition))
          const problems = await storeScores(work, rows)
          await positions.set(partition, next)
          return { rows: rows.length, problems, refused }
        })
        done.rows += scored.rows
        done.problems += scored.problems
        done.refused += scored.refused
        progress(() => `scored ${done.rows} rows (partition ${partition}, offset ${next} of ${log.end})`)
      }
    }
  }
  return done
}

function startOf(topic: string, { partition, committed, log }: GroupPosition): number {
  if (committed === null) return log.start
  if (committed.offset <= log.end) return Math.max(committed.offset, log.start)
  const message = `${topic}/${partition} ends at ${log.end}, and the run has come to ${committed.offset}: begin another run`
  throw fatal('position_lost', message)
}

/** Rows of a set, and the offset behind them. */
function* parts(set: RecordSet, rows: number): Generator<readonly [from: number, to: number, next: number]> {
  for (let from = 0; from < set.length; from += rows) {
    const to = Math.min(from + rows, set.length)
    yield [from, to, to === set.length ? set.nextOffset : (set.offsets[to] as number)]
  }
}

function isIn({ from, to }: { readonly from: number; readonly to: number }, { event_time }: FeatureVector): boolean {
  return event_time >= from && event_time < to
}

function rowOf(vector: FeatureVector, partition: number): HistoryRow {
  const { tenant, segment, event_id, event_time, origin_generation, origin_offset, degraded, features } = vector
  const coordinates = { origin_generation, kafka_partition: partition, origin_offset }
  return { tenant, segment, event_id, event_time, ...coordinates, degraded, features: Float32Array.from(features) }
}
