import type { Prediction } from '../../schemas/generated/records.ts'
import { labelRows } from '../../sinks/clickhouse/label-rows.ts'
import { predictionRows } from '../../sinks/clickhouse/prediction-rows.ts'
import type { Row, RowResult } from '../../sinks/clickhouse/stored-row.ts'
import type { TestDatabase } from './clickhouse-database.ts'
import { memoryBatch } from './memory-kafka.ts'
import { predictionOf } from './predictions.ts'

// Rows as the sinks make them of records, inserted one by one.

export const NOW = Date.UTC(2026, 0, 5, 12, 0, 1)

export function rowOf(result: RowResult): Row {
  if (result.kind !== 'row') throw new Error(`a row is expected, not a ${result.kind}`)
  return result.row
}

/** One record at an offset of partition 3, appended `offset` ms after `since`. */
export const at = (offset: number, since = NOW) =>
  memoryBatch({ topic: 't', partition: 3, offsets: [offset], records: [{ timestamp: since + offset }] })

export async function storePredictions(
  { client }: TestDatabase,
  pipeline: string,
  predictions: readonly (readonly [number, Partial<Prediction>])[],
  table: 'predictions' | 'shadow_predictions' = 'predictions',
) {
  const kind = predictionRows(pipeline, table)
  // a shadow's rows are not kept for ever
  const since = table === 'predictions' ? NOW : Date.now()
  const rows = predictions.map(([offset, change]) => rowOf(kind.row(predictionOf(change), at(offset, since), 0)))
  await client.insert(kind.table, Object.keys(kind.types), rows)
}

export async function storeLabel(
  { client }: TestDatabase,
  pipeline: string,
  offset: number,
  record: { id: string; truth: boolean | number | string | null },
) {
  const label = { idField: 'id', timeField: 'at', value: () => record.truth, withdrawable: true }
  const kind = labelRows({ pipeline, label, tenant: { fixed: 'main' } })
  await client.insert(kind.table, Object.keys(kind.types), [rowOf(kind.row({ ...record, at: NOW }, at(offset), 0))])
}
