import type { Prediction } from '../../schemas/generated/records.ts'
import { type RowKind, SOURCE_COLUMNS, sourceColumns } from './stored-row.ts'

const FIELDS = [
  'tenant',
  'segment',
  'event_id',
  'event_time',
  'ingested_at',
  'event_schema_id',
  'origin_generation',
  'origin_offset',
  'source_generation',
  'source_offset',
  'feature_set',
  'features',
  'degraded',
  'traceparent',
  'model',
  'model_version',
  'model_digest',
  'role',
  'score',
  'outputs',
  'label',
  'provider',
  'batch_rows',
  'scored_at',
] as const satisfies readonly (keyof Prediction)[]

export function predictionRows(pipeline: string): RowKind<Prediction> {
  return {
    table: 'predictions',
    columns: ['pipeline', ...FIELDS, ...SOURCE_COLUMNS],
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
