import type { StageMetrics } from '../../schemas/generated/records.ts'
import { type RowKind, SOURCE_COLUMNS, sourceColumns } from './stored-row.ts'

const FIELDS = [
  'pipeline',
  'stage',
  'instance',
  'at',
  'interval_ms',
  'records_in',
  'records_out',
  'dead_letters',
  'batches',
  'retries',
  'busy_ms',
  'largest_batch',
] as const satisfies readonly (keyof StageMetrics)[]

/** The topic is shared: the sinks of each pipeline store that pipeline's records and leave the others to theirs. */
export function stageMetricsRows(pipeline: string): RowKind<StageMetrics> {
  return {
    table: 'stage_metrics',
    columns: [...FIELDS, ...SOURCE_COLUMNS],
    row: (record, batch, index) =>
      record.pipeline === pipeline
        ? { kind: 'row', row: { ...record, ...sourceColumns(batch, index) }, origin: { origin: null } }
        : { kind: 'skip' },
  }
}
