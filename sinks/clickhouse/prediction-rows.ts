import type { Prediction } from '../../schemas/generated/records.ts'
import { type ColumnType, TIME } from './column-types.ts'
import { byDay, type RowKind, SOURCE_TYPES, sourceColumns } from './stored-row.ts'

const FIELDS = {
  tenant: 'LowCardinality(String)',
  segment: 'LowCardinality(String)',
  event_id: 'String',
  event_time: TIME,
  ingested_at: TIME,
  event_schema_id: 'Int32',
  origin_generation: 'LowCardinality(String)',
  origin_offset: 'UInt64',
  source_generation: 'LowCardinality(String)',
  source_offset: 'UInt64',
  feature_set: 'LowCardinality(String)',
  features: 'Array(Float32)',
  degraded: 'Bool',
  traceparent: 'Nullable(String)',
  model: 'LowCardinality(String)',
  model_version: 'LowCardinality(String)',
  model_digest: 'LowCardinality(String)',
  role: 'LowCardinality(String)',
  score: 'Float32',
  outputs: 'Array(Float32)',
  label: 'LowCardinality(Nullable(String))',
  provider: 'LowCardinality(String)',
  batch_rows: 'Int32',
  scored_at: TIME,
  answer: 'LowCardinality(String)',
} as const satisfies Record<keyof Prediction, ColumnType>

export function predictionRows(
  pipeline: string,
  table: 'predictions' | 'shadow_predictions' = 'predictions',
): RowKind<Prediction> {
  return {
    table,
    types: { pipeline: 'LowCardinality(String)', ...FIELDS, ...SOURCE_TYPES },
    partitionBy: byDay('ingested_at'),
    constants: { pipeline },
    row: (record, batch, index) => ({
      kind: 'row',
      row: { pipeline, ...record, ...sourceColumns(batch, index) },
      origin: {
        tenant: record.tenant,
        eventId: record.event_id,
        origin: { generation: record.origin_generation, offset: record.origin_offset },
      },
    }),
  }
}
