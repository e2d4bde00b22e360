import type { DeadLetter } from '../../schemas/generated/records.ts'
import { type RowKind, SOURCE_COLUMNS, sourceColumns } from './stored-row.ts'

const FIELDS = [
  'pipeline',
  'stage',
  'reason',
  'kind',
  'message',
  'tenant',
  'event_id',
  'topic',
  'partition',
  'source_generation',
  'source_offset',
  'origin_generation',
  'origin_offset',
  'schema_id',
  'attempts',
  'failed_at',
  'replay_of',
  'original_bytes',
] as const satisfies readonly (keyof DeadLetter)[]

/** Bytes go as base64: the table decodes them. */
export const deadLetterRows: RowKind<DeadLetter> = {
  table: 'dead_letters',
  columns: [...FIELDS, 'key_base64', 'value_base64', 'headers_base64', ...SOURCE_COLUMNS],
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
