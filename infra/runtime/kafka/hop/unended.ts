import type { ColumnBatch } from '../consumer/column-batch.ts'
import type { LaneTail } from '../exactly-once/lane-writer.ts'
import type { RecordBatch } from '../record-batch.ts'
import { pickSlices } from '../record-batches/columns.ts'

/** The coordinates in the events topic of an input record; null = it names none. */
export type OriginOf = (
  batch: RecordBatch,
  index: number,
) => { readonly generation: string; readonly offset: number } | null

/**
 * Leaves out the records that have ended already, by what the logs told at the claim. Answers the batch itself when none
 * has, and asks no more once it is past all of them.
 */
export function createUnended(tail: LaneTail, originOf: OriginOf): (batch: ColumnBatch) => ColumnBatch {
  /** An input offset from which on no record has ended; known once a batch beyond it was met. */
  let askBelow = tail.askBelow === null ? 0 : Number.POSITIVE_INFINITY
  return (batch) => {
    // a batch that is handed in again is filtered again
    if (batch.offset(0) >= askBelow) return batch
    const kept: number[] = []
    let past = true
    for (let index = 0; index < batch.length; index++) {
      const origin = originOf(batch, index)
      const offset = batch.offset(index)
      if (!tail.ended(offset, origin)) kept.push(index)
      past = isPast(tail, offset, origin)
    }
    if (past) askBelow = Math.min(askBelow, batch.offset(batch.length - 1) + 1)
    return kept.length === batch.length ? batch : withRows(batch, Int32Array.from(kept))
  }
}

/** Offsets and origins ascend along a lane, so what lies behind one that is past them is past them, too. */
function isPast({ askBelow }: LaneTail, source: number, origin: ReturnType<OriginOf>): boolean {
  if (askBelow === null) return true
  if (source < askBelow.source || origin === null) return false
  return origin.generation !== askBelow.originGeneration || origin.offset >= askBelow.origin
}

function withRows(batch: ColumnBatch, rows: Int32Array): ColumnBatch {
  const row = (index: number): number => rows[index] ?? -1
  const keys = pickSlices(batch.keys, rows)
  const values = pickSlices(batch.values, rows)
  return {
    topic: batch.topic,
    partition: batch.partition,
    generation: batch.generation,
    length: rows.length,
    bytes: sum(keys.lengths) + sum(values.lengths),
    offset: (index) => batch.offset(row(index)),
    timestamp: (index) => batch.timestamp(row(index)),
    key: (index) => batch.key(row(index)),
    value: (index) => batch.value(row(index)),
    header: (index, name) => batch.header(row(index), name),
    headerNames: (index) => batch.headerNames(row(index)),
    offsets: Float64Array.from(rows, (at) => batch.offset(at)),
    timestamps: Float64Array.from(rows, (at) => batch.timestamp(at)),
    keys,
    values,
    headers: pickSlices(batch.headers, rows),
  }
}

function sum(lengths: Int32Array): number {
  let total = 0
  for (const length of lengths) total += Math.max(0, length)
  return total
}
