import type { ControlEntry } from '../../schemas/generated/records.ts'
import { type ColumnType, TIME } from './column-types.ts'
import { type RowKind, SOURCE_TYPES, sourceColumns } from './stored-row.ts'

const FIELDS = {
  kind: 'LowCardinality(String)',
  name: 'String',
  base_revision: 'Int64',
  value: 'String',
  actor: 'String',
  reason: 'String',
  at: TIME,
  previous_hash: 'String',
  hash: 'String',
} as const satisfies Record<keyof ControlEntry, ColumnType>

/** Every entry, also one that had no effect: the log is the audit trail. */
export const controlLogRows: RowKind<ControlEntry> = {
  table: 'control_log',
  types: { ...FIELDS, ...SOURCE_TYPES },
  partitionBy: null,
  row: (record, batch, index) => ({
    kind: 'row',
    row: { ...record, ...sourceColumns(batch, index) },
    origin: { origin: null },
  }),
}
