import type { Provider, RowFailure, RunResult, RunRows } from '../../execution/run-rows.ts'
import { createRowTable, type RowTableOptions } from './row-table.ts'

export interface PredictionCacheObserver {
  /** Of the rows of a run: `hits` had been answered before, `repeats` are the same as another row of the run. */
  looked(rows: number, hits: number, repeats: number): void
}

export interface CachedRowsOptions extends RowTableOptions {
  readonly run: RunRows
  readonly observer: PredictionCacheObserver
}

const NO_FAILURES: ReadonlyMap<number, RowFailure> = new Map()
/** A row that has not found its like after so many others of the same run is computed for itself. */
const PROBES = 16

/**
 * Answers rows that one loaded version has answered before, and computes rows that are there twice once. The model sees the
 * rows as they came, of equal ones the first: what another spelling of 0 or of a missing value would have changed is all
 * that can differ. A row out of the cache tells the rows of the run that once answered it. Failures are not kept. The
 * answers of one provider only are kept: when another answers, the cache begins anew, and no result mixes two.
 */
export function cachedRows({ run, observer, ...options }: CachedRowsOptions): RunRows {
  const { width, outputWidth } = options
  const table = createRowTable(options)
  let provider: Provider | null = null
  /** Of the rows of one run: 1 + index among those that are computed, by hash; 0 = empty. Used within `lookUp` only. */
  let buckets = new Int32Array(64)

  function lookUp(words: Int32Array, count: number): Lookup {
    const answered: Lookup = {
      outputs: new Float32Array(count * outputWidth),
      batchRows: new Int32Array(count),
      sources: new Int32Array(count),
      firsts: new Int32Array(count),
      missing: 0,
      hits: 0,
      provider,
    }
    const { outputs, batchRows, sources, firsts } = answered
    const mask = emptyBuckets(count)
    for (let row = 0; row < count; row++) {
      const hash = table.read(words, row * width)
      const slot = table.find(hash)
      if (slot >= 0) {
        batchRows[row] = table.copy(slot, outputs, row * outputWidth)
        sources[row] = -1
        answered.hits++
        continue
      }
      const index = indexOf(words, hash, mask, firsts, answered.missing)
      if (index === answered.missing) {
        firsts[index] = row
        answered.missing++
      }
      sources[row] = index
    }
    return answered
  }

  function emptyBuckets(count: number): number {
    const size = 2 ** Math.ceil(Math.log2(2 * count + 1))
    if (buckets.length < size) buckets = new Int32Array(size)
    else buckets.fill(0, 0, size)
    return size - 1
  }

  /** Where a row like the one that was read last is among those that are computed; `next` when there is none. */
  function indexOf(words: Int32Array, hash: number, mask: number, firsts: Int32Array, next: number): number {
    for (let probe = 0; probe < PROBES; probe++) {
      const at = (hash + probe) & mask
      const found = buckets[at] as number
      if (found === 0) {
        buckets[at] = next + 1
        return next
      }
      if (table.isSame(words, (firsts[found - 1] as number) * width)) return found - 1
    }
    return next
  }

  function keep(words: Int32Array, { firsts, missing }: Lookup, result: RunResult): void {
    if (result.provider !== provider) {
      table.clear()
      provider = result.provider
    }
    for (let index = 0; index < missing; index++) {
      if (result.failures.has(index)) continue
      const hash = table.read(words, (firsts[index] as number) * width)
      table.put(hash, result.outputs, index * outputWidth, result.batchRows[index] as number)
    }
  }

  return async (rows) => {
    const count = rows.length / width
    const words = new Int32Array(rows.buffer, rows.byteOffset, rows.length)
    const found = lookUp(words, count)
    const { hits, missing, outputs, batchRows } = found
    observer.looked(count, hits, count - hits - missing)
    if (missing === 0 && found.provider !== null) {
      return { outputs, batchRows, failures: NO_FAILURES, provider: found.provider }
    }
    const result = await run(missing === count ? rows : packed(rows, width, found))
    keep(words, found, result)
    if (missing === count) return result
    if (hits > 0 && result.provider !== found.provider) return run(rows)
    const failures = spread(found, result, outputWidth)
    return { outputs, batchRows, failures, provider: result.provider, tooMany: result.tooMany === true }
  }
}

interface Lookup {
  readonly outputs: Float32Array
  readonly batchRows: Int32Array
  /** Of each row: its index among those that are computed; -1 = it has its outputs. */
  readonly sources: Int32Array
  /** Rows that are computed, `missing` of them. */
  readonly firsts: Int32Array
  missing: number
  hits: number
  /** Who answered the hits. */
  readonly provider: Provider | null
}

function packed(rows: Float32Array, width: number, { firsts, missing }: Lookup): Float32Array {
  const target = new Float32Array(missing * width)
  for (let index = 0; index < missing; index++) {
    const from = (firsts[index] as number) * width
    for (let at = 0; at < width; at++) target[index * width + at] = rows[from + at] as number
  }
  return target
}

/** Brings what was computed to all rows that wait for it; their failures. */
function spread({ outputs, batchRows, sources }: Lookup, result: RunResult, width: number): RunResult['failures'] {
  for (let row = 0; row < sources.length; row++) {
    const index = sources[row] as number
    if (index < 0) continue
    batchRows[row] = result.batchRows[index] as number
    for (let at = 0; at < width; at++) outputs[row * width + at] = result.outputs[index * width + at] as number
  }
  if (result.failures.size === 0) return NO_FAILURES
  const failures = new Map<number, RowFailure>()
  for (let row = 0; row < sources.length; row++) {
    const failure = result.failures.get(sources[row] as number)
    if (failure !== undefined) failures.set(row, failure)
  }
  return failures
}
