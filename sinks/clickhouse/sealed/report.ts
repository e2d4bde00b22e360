import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { SettledRound } from '../../../infra/runtime/kafka/hop/hop-observer.ts'
import type { RecordOrigin } from '../stored-row.ts'
import { unstored } from './check-row.ts'
import type { Chunk, RejectedRecord } from './chunk.ts'
import type { Landed } from './land-chunk.ts'
import type { LandedChunk } from './sealed-observer.ts'

const FOREIGN = new Set(['not_avro', 'undecodable', 'unknown_schema', 'incompatible_schema'])

/** Whether no stage of Millrace would have written the record. */
export const isForeign = (reason: string): boolean => FOREIGN.has(reason)

/** What the decoder or the store gave up, in the order of the log; not what is there from an earlier attempt. */
export function rejectedOf(
  chunk: Chunk,
  { refused, stored }: Landed,
  originOf: (batch: ColumnBatch, index: number) => RecordOrigin,
): readonly RejectedRecord[] {
  const rejected = chunk.rejected.filter(({ batch, index }) => !stored.has(batch.offset(index)))
  for (const [row, message] of refused) {
    const batch = chunk.batches[row] as ColumnBatch
    const index = chunk.indexes[row] as number
    rejected.push({ batch, index, rejection: unstored('unstorable', message, originOf(batch, index)) })
  }
  return rejected.sort((a, b) => a.batch.offset(a.index) - b.batch.offset(b.index))
}

export function roundOf(
  partition: number,
  chunk: Chunk,
  { refused, stored }: Landed,
  rejected: readonly RejectedRecord[],
  busyMs: number,
): { readonly settled: SettledRound; readonly news: Omit<LandedChunk, 'table'> } {
  const rejectedByReason = new Map<string, number>()
  for (const { rejection } of rejected) {
    rejectedByReason.set(rejection.reason, (rejectedByReason.get(rejection.reason) ?? 0) + 1)
  }
  let copies = 0
  for (const count of stored.values()) copies += count - 1
  return {
    settled: {
      partition,
      recordsIn: chunk.records,
      recordsOut: chunk.records - rejected.length,
      rejectedByReason,
      batches: 1,
      deferredLanes: 0,
      largestBatch: chunk.records,
      busyMs,
    },
    news: {
      rows: chunk.rows - refused.size,
      refused: refused.size,
      copies,
      latenciesMs: chunk.latenciesMs,
      busyMs,
    },
  }
}
