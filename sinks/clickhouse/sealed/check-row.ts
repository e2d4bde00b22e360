import type { Rejection } from '../../../infra/runtime/kafka/outcome.ts'
import type { RecordBatch } from '../../../infra/runtime/kafka/record-batch.ts'
import type { DeadLetterReason } from '../../../schemas/dead-letter-reasons.ts'
import { rangeCheck } from '../column-types.ts'
import type { RecordOrigin, Row, RowFacts, RowKind } from '../stored-row.ts'

/** A row that fits its table, as far as can be told before it is sent. */
export interface CheckedRow extends RowFacts {
  readonly values: Row
  readonly origin: RecordOrigin
}

export type CheckedResult =
  | { readonly kind: 'row'; readonly row: CheckedRow }
  | { readonly kind: 'rejection'; readonly rejection: Rejection }
  | { readonly kind: 'skip' }

/** What is inserted for a record. Pure and the same at every call, because a chunk may have to be made again by another process. */
export function rowCheck<T>(kind: RowKind<T>): (record: T, batch: RecordBatch, index: number) => CheckedResult {
  const misfit = rangeCheck(kind.types)
  const { partitionBy } = kind
  return (record, batch, index) => {
    const result = kind.row(record, batch, index)
    if (result.kind !== 'row') return result
    const { row, origin } = result
    const problem = misfit(row)
    if (problem !== null) return { kind: 'rejection', rejection: unstored('value_out_of_range', problem, origin) }
    const time = partitionBy === null ? null : (row[partitionBy.column] as number)
    const { written_at: written, ingested_at: ingested } = row
    return {
      kind: 'row',
      row: {
        values: row,
        origin,
        time,
        tablePartition: partitionBy === null || time === null ? 0 : partitionBy.partitionOf(time),
        latencyMs: typeof written === 'number' && typeof ingested === 'number' ? written - ingested : null,
      },
    }
  }
}

export function unstored(reason: DeadLetterReason, message: string, origin: RecordOrigin): Rejection {
  return { kind: 'unstored', reason, message, ...origin }
}
