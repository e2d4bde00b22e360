import type { Emission, EmittedColumns, SealedOutcome } from '../outcome.ts'
import { pickSlices, type Slices, sliceAt, slicesBetween, slicesOf } from '../record-batches/columns.ts'

/** All outputs of a batch under one name, by ascending source and without those behind a deferral; null when there are none. */
export function joinRows(outcome: SealedOutcome, output: string): EmittedColumns | null {
  const emissions = outcome.emissions.get(output) ?? []
  const blocks = (outcome.columns.get(output) ?? []).map((rows) => upTo(rows, outcome.settled))
  const filled = blocks.filter(({ length }) => length > 0)
  const [only] = filled
  if (emissions.length === 0 && filled.length <= 1) return only ?? null
  return sortedRows([...(emissions.length === 0 ? [] : [rowsOf(emissions)]), ...filled])
}

/** Rows [from, to) without those of the given sources; null when none is left. Shares the bytes. */
export function rowsBetween(
  rows: EmittedColumns,
  from: number,
  to: number,
  without: ReadonlyMap<number, unknown>,
): { readonly length: number; readonly keys: Slices; readonly values: Slices } | null {
  if (without.size === 0) {
    if (from === to) return null
    return { length: to - from, keys: slicesBetween(rows.keys, from, to), values: slicesBetween(rows.values, from, to) }
  }
  const kept: number[] = []
  for (let row = from; row < to; row++) if (!without.has(rows.sources[row] as number)) kept.push(row)
  if (kept.length === 0) return null
  const picked = Int32Array.from(kept)
  return { length: kept.length, keys: pickSlices(rows.keys, picked), values: pickSlices(rows.values, picked) }
}

function upTo(rows: EmittedColumns, settled: number): EmittedColumns {
  let length = rows.length
  while (length > 0 && (rows.sources[length - 1] as number) >= settled) length--
  return length === rows.length ? rows : { ...rows, length }
}

function rowsOf(emissions: readonly Emission[]): EmittedColumns {
  // a handler emits in any order; the log keeps that of the input
  const sorted = emissions.toSorted((a, b) => a.index - b.index)
  return {
    length: sorted.length,
    sources: Int32Array.from(sorted, ({ index }) => index),
    keys: slicesOf(sorted.map(({ key }) => key)),
    values: slicesOf(sorted.map(({ value }) => value)),
    subjectOf: (row) => sorted[row]?.subject ?? {},
  }
}

/** Of a batch with records of several kinds: not the hot path. */
function sortedRows(blocks: readonly EmittedColumns[]): EmittedColumns {
  const rows = blocks.flatMap((block) => Array.from({ length: block.length }, (_, row) => ({ block, row })))
  const sourceOf = ({ block, row }: (typeof rows)[number]): number => block.sources[row] as number
  rows.sort((a, b) => sourceOf(a) - sourceOf(b))
  return {
    length: rows.length,
    sources: Int32Array.from(rows, sourceOf),
    keys: slicesOf(rows.map(({ block, row }) => sliceAt(block.keys, row))),
    values: slicesOf(rows.map(({ block, row }) => sliceAt(block.values, row))),
    subjectOf: (at) => rows[at]?.block.subjectOf(rows[at].row) ?? {},
  }
}
