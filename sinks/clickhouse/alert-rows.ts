import type { Alert } from '../../schemas/generated/records.ts'
import { type ColumnType, TIME } from './column-types.ts'
import { type RowKind, SOURCE_TYPES, sourceColumns } from './stored-row.ts'

const FIELDS = {
  pipeline: 'LowCardinality(String)',
  rule: 'LowCardinality(String)',
  state: 'LowCardinality(String)',
  severity: 'LowCardinality(String)',
  message: 'String',
  evidence_sql: 'String',
  at: TIME,
} as const satisfies Record<keyof Alert, ColumnType>

/** The topic is shared: the sinks of each pipeline store that pipeline's records and leave the others to theirs. */
export function alertRows(pipeline: string): RowKind<Alert> {
  return {
    table: 'alerts',
    types: { ...FIELDS, ...SOURCE_TYPES },
    partitionBy: null,
    row: (record, batch, index) =>
      record.pipeline === pipeline
        ? { kind: 'row', row: { ...record, ...sourceColumns(batch, index) }, origin: { tenant: '', origin: null } }
        : { kind: 'skip' },
  }
}
