import type { FeatureVector, Prediction } from '../../../schemas/generated/records.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { stageTopic } from '../../../schemas/topics.ts'
import type { AvroType } from '../../runtime/avro/avro-type.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import type { RecordWriter } from '../../runtime/kafka/record-writer.ts'

const BATCH = 2_000
/** Of so many events one is a dead letter. */
const REJECTED_ONE_IN = 100
const EVENT_BYTES = 150
const NOW = Date.UTC(2026, 0, 1)

export interface LaneFill {
  readonly pipeline: CompiledPipeline
  readonly writer: RecordWriter
  readonly clickhouse: ClickHouseClient
  readonly types: Readonly<
    Record<'vector' | 'prediction' | 'letter', { readonly type: AvroType; readonly schemaId: number }>
  >
  /** Topic ids. */
  readonly generations: { readonly events: string; readonly features: string; readonly predictions: string }
  readonly events: number
}

/** What a pipeline in which all went well leaves of one partition: in the topics, and of its predictions in ClickHouse. */
export async function fillLane(fill: LaneFill, partition: number): Promise<void> {
  const { pipeline, writer, types, generations } = fill
  const { name } = pipeline
  let predicted = 0
  let offset = 0
  while (offset < fill.events) {
    const to = Math.min(fill.events, offset + BATCH)
    const batch = { events: [] as Out[], features: [] as Out[], predictions: [] as Out[], letters: [] as Out[] }
    for (; offset < to; offset++) {
      const key = Buffer.from(`N${offset % 4_000}`)
      batch.events.push({ key, value: Buffer.alloc(EVENT_BYTES, offset % 251) })
      if (offset % REJECTED_ONE_IN === 0) {
        batch.letters.push({
          key,
          value: types.letter.type.encode(types.letter.schemaId, letterOf(fill, partition, offset)),
        })
        continue
      }
      const vector = vectorOf(generations.events, offset)
      batch.features.push({ key, value: types.vector.type.encode(types.vector.schemaId, vector) })
      const prediction = predictionOf(vector, generations.features, predicted)
      batch.predictions.push({ key, value: types.prediction.type.encode(types.prediction.schemaId, prediction) })
      predicted += 1
    }
    await writer.write([
      { topic: pipeline.event.topic, partition, records: batch.events },
      { topic: stageTopic(name, 'features'), partition, records: batch.features },
      { topic: stageTopic(name, 'predictions'), partition, records: batch.predictions },
      { topic: stageTopic(name, 'dead-letters'), partition, records: batch.letters },
    ])
  }
  await storePredictions(fill, partition, predicted)
}

interface Out {
  readonly key: Buffer
  readonly value: Buffer
}

/** Rows with the coordinates that an audit looks at; the other columns are empty. */
async function storePredictions(fill: LaneFill, partition: number, count: number): Promise<void> {
  const { pipeline, generations, clickhouse } = fill
  const origin = `intDiv(number, ${REJECTED_ONE_IN - 1}) * ${REJECTED_ONE_IN} + number % ${REJECTED_ONE_IN - 1} + 1`
  await clickhouse.command(
    `INSERT INTO predictions (pipeline, tenant, event_id, event_time, ingested_at, written_at, role,
       origin_generation, origin_offset, kafka_generation, kafka_partition, kafka_offset)
     SELECT '${pipeline.name}', 'main', concat('${partition}-', toString(number)), toDateTime64('2026-01-01 00:00:00', 3, 'UTC'),
       toDateTime64('2026-01-01 00:00:00', 3, 'UTC'), toDateTime64('2026-01-01 00:00:00', 3, 'UTC'), 'primary',
       '${generations.events}', ${origin}, '${generations.predictions}', ${partition}, number
     FROM numbers(${count})`,
  )
}

function vectorOf(generation: string, offset: number): FeatureVector {
  return {
    event_id: `20260101-UA-1545-EWR-${offset}`,
    tenant: 'main',
    segment: 'EWR',
    event_time: NOW,
    ingested_at: NOW,
    event_schema_id: 1,
    origin_generation: generation,
    origin_offset: offset,
    source_generation: generation,
    source_offset: offset,
    feature_set: '0123456789abcdef0123456789abcdef',
    features: FEATURES,
    degraded: false,
    traceparent: null,
  }
}

const FEATURES = Array.from({ length: 16 }, (_, at) => at)

function predictionOf(vector: FeatureVector, generation: string, offset: number): Prediction {
  return {
    ...vector,
    source_generation: generation,
    source_offset: offset,
    model: 'flight-delay',
    model_version: '1',
    model_digest: '5909c242cf046c85915853b110122361a8ba07ef64d4f06be87022a627057305',
    role: 'primary',
    score: 0.5,
    outputs: [0.5, 0.5],
    label: null,
    provider: 'cpu',
    batch_rows: 256,
    scored_at: NOW,
    answer: 'scored',
  }
}

function letterOf({ pipeline, generations }: LaneFill, partition: number, offset: number) {
  return {
    stage: 'processors',
    pipeline: pipeline.name,
    reason: 'undecodable',
    kind: 'rejected',
    message: 'the value ends in the middle of the record',
    tenant: 'main',
    event_id: null,
    topic: pipeline.event.topic,
    partition,
    source_generation: generations.events,
    source_offset: offset,
    origin_generation: generations.events,
    origin_offset: offset,
    schema_id: 1,
    key: null,
    value: Buffer.alloc(EVENT_BYTES),
    headers: {},
    attempts: 1,
    failed_at: NOW,
    replay_of: null,
    original_bytes: null,
  }
}
