import type { RowFailure, RunResult, RunRows } from '../run-rows.ts'

/** Ascending. Shapes that a GPU has seen before are the quick ones, so runs have few. */
export const GPU_BUCKETS: readonly number[] = [32, 128, 512, 2_048]

export interface PaddedOptions {
  /** Of one provider. */
  readonly run: RunRows
  /** Features per row. */
  readonly width: number
  /** Ascending. */
  readonly buckets: readonly number[]
  /** Most rows of a run; buckets above it are not used. */
  readonly maxRows: number
}

/**
 * Rounds runs up to the next bucket with copies of their last row, which are a row that the model is asked about anyway, and
 * takes what is answered to them away. What is above the largest bucket is run in several, one after another. `batchRows`
 * counts rows that were asked for only.
 */
export function padded({ run, width, buckets, maxRows }: PaddedOptions): RunRows {
  const sizes = buckets.filter((size) => size <= maxRows)
  const largest = sizes.at(-1) ?? maxRows

  async function bucket(rows: Float32Array): Promise<RunResult> {
    const count = rows.length / width
    const size = sizes.find((one) => one >= count) ?? count
    if (size === count) return run(rows)
    const filled = new Float32Array(size * width)
    filled.set(rows)
    for (let row = count; row < size; row++) filled.copyWithin(row * width, (count - 1) * width, count * width)
    const { outputs, batchRows, failures, provider } = await run(filled)
    return {
      outputs: outputs.subarray(0, count * (outputs.length / size)),
      batchRows: batchRows.slice(0, count).map((of) => Math.min(of, count)),
      failures: new Map([...failures].filter(([row]) => row < count)),
      provider,
    }
  }

  return async (rows) => {
    const count = rows.length / width
    if (count === 0) return run(rows)
    if (count <= largest) return bucket(rows)
    const parts: RunResult[] = []
    for (let from = 0; from < count; from += largest) {
      parts.push(await bucket(rows.subarray(from * width, Math.min(from + largest, count) * width)))
    }
    return joined(parts, count)
  }
}

function joined(parts: readonly RunResult[], count: number): RunResult {
  const [first] = parts as readonly [RunResult]
  const outputWidth = first.outputs.length / first.batchRows.length
  const outputs = new Float32Array(count * outputWidth)
  const batchRows = new Int32Array(count)
  const failures = new Map<number, RowFailure>()
  let at = 0
  for (const part of parts) {
    outputs.set(part.outputs, at * outputWidth)
    batchRows.set(part.batchRows, at)
    for (const [row, failure] of part.failures) failures.set(at + row, failure)
    at += part.batchRows.length
  }
  return { outputs, batchRows, failures, provider: first.provider }
}
