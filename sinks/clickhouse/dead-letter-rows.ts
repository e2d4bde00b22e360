import type { DeadLetter } from '../../schemas/generated/records.ts'
import { type ColumnType, TIME } from './column-types.ts'
import { type RowKind, SOURCE_TYPES, sourceColumns } from './stored-row.ts'

const FIELDS = {
  pipeline: 'LowCardinality(String)',
  stage: 'LowCardinality(String)',
  reason: 'LowCardinality(String)',
  kind: 'LowCardinality(String)',
  message: 'String',
  tenant: 'LowCardinality(String)',
  event_id: 'Nullable(String)',
  topic: 'LowCardinality(String)',
  partition: 'Int32',
  source_generation: 'LowCardinality(String)',
  source_offset: 'Int64',
  origin_generation: 'LowCardinality(String)',
  origin_offset: 'Int64',
  schema_id: 'Nullable(Int32)',
  attempts: 'Int32',
  failed_at: TIME,
  replay_of: 'Nullable(String)',
  original_bytes: 'Nullable(Int64)',
} as const satisfies Partial<Record<keyof DeadLetter, ColumnType>>

const BYTES = {
  key_base64: 'Nullable(String)',
  value_base64: 'String',
  headers_base64: 'Map(String, String)',
} as const satisfies Record<string, ColumnType>

/** Bytes go as base64: the table decodes them. */
export const deadLetterRows: RowKind<DeadLetter> = {
  table: 'dead_letters',
  types: { ...FIELDS, ...BYTES, ...SOURCE_TYPES },
  partitionBy: null,
  row(record, batch, index) {
    const { key, value, headers, ...fields } = record
    return {
      kind: 'row',
      row: {
        ...fields,
        key_base64: key?.toString('base64') ?? null,
        value_base64: value.toString('base64'),
        headers_base64: Object.fromEntries(
          Object.entries(headers).map(([name, bytes]) => [name, bytes.toString('base64')]),
        ),
        ...sourceColumns(batch, index),
      },
      origin: { tenant: record.tenant, ...(record.event_id === null ? {} : { eventId: record.event_id }) },
    }
  },
}
