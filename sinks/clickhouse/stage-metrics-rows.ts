import type { StageMetrics } from '../../schemas/generated/records.ts'
import { type ColumnType, TIME } from './column-types.ts'
import { byMonth, type RowKind, SOURCE_TYPES, sourceColumns } from './stored-row.ts'

const FIELDS = {
  pipeline: 'LowCardinality(String)',
  stage: 'LowCardinality(String)',
  instance: 'LowCardinality(String)',
  at: TIME,
  interval_ms: 'Int32',
  records_in: 'Int64',
  records_out: 'Int64',
  dead_letters: 'Int64',
  batches: 'Int64',
  retries: 'Int64',
  busy_ms: 'Float64',
  largest_batch: 'Int32',
  released_full: 'Int64',
  released_drained: 'Int64',
  released_deadline: 'Int64',
  released_linger: 'Int64',
  longest_wait_ms: 'Float64',
  mean_fill: 'Float64',
  ready_epoch: 'Int64',
} as const satisfies Record<keyof StageMetrics, ColumnType>

/** The topic is shared: the sinks of each pipeline store that pipeline's records and leave the others to theirs. */
export function stageMetricsRows(pipeline: string): RowKind<StageMetrics> {
  return {
    table: 'stage_metrics',
    types: { ...FIELDS, ...SOURCE_TYPES },
    partitionBy: byMonth('at'),
    row: (record, batch, index) =>
      record.pipeline === pipeline
        ? { kind: 'row', row: { ...record, ...sourceColumns(batch, index) }, origin: { origin: null } }
        : { kind: 'skip' },
  }
}
