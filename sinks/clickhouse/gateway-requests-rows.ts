import type { GatewayRequests } from '../../schemas/generated/records.ts'
import { type ColumnType, TIME } from './column-types.ts'
import { byMonth, type RowKind, SOURCE_TYPES, sourceColumns } from './stored-row.ts'

const FIELDS = {
  pipeline: 'LowCardinality(String)',
  instance: 'LowCardinality(String)',
  sequence: 'Int64',
  minute: TIME,
  tenant: 'LowCardinality(String)',
  route: 'LowCardinality(String)',
  method: 'LowCardinality(String)',
  status: 'Int32',
  requests: 'Int64',
  events: 'Int64',
  request_bytes: 'Int64',
  response_bytes: 'Int64',
  took_ms: 'Float64',
  latency: 'Array(Int64)',
} as const satisfies Record<keyof GatewayRequests, ColumnType>

/** The topic is shared: the sinks of each pipeline store that pipeline's records and leave the others to theirs. */
export function gatewayRequestsRows(pipeline: string): RowKind<GatewayRequests> {
  return {
    table: 'gateway_requests',
    types: { ...FIELDS, ...SOURCE_TYPES },
    partitionBy: byMonth('minute'),
    row: (record, batch, index) =>
      record.pipeline === pipeline
        ? {
            kind: 'row',
            row: { ...record, ...sourceColumns(batch, index) },
            origin: { tenant: record.tenant, origin: null },
          }
        : { kind: 'skip' },
  }
}
