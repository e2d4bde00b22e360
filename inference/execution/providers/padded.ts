import type { PreparedModel } from '../executor.ts'
import type { RowFailure, RunResult, RunRows } from '../run-rows.ts'

/** Ascending. Shapes that a GPU has seen before are the quick ones, so runs have few. */
const GPU_BUCKETS: readonly number[] = [32, 128, 512, 2_048, 4_096]

/** The buckets of runs of at most so many rows. */
export function bucketsBelow(maxRows: number, buckets: readonly number[] = GPU_BUCKETS): readonly number[] {
  return buckets.filter((size) => size <= maxRows)
}

/**
 * Rounds runs up to the next bucket with copies of their last row, which are a row that the model is asked about anyway, and
 * takes what is answered to them away. To be put below the isolation of rows, which knows of none of the copies.
 */
export function paddedModel(model: PreparedModel, buckets: readonly number[]): PreparedModel {
  const { input, output } = model.manifest
  const width = input.features.length
  if (buckets.length === 0) return model
  return {
    ...model,
    async run(rows) {
      const count = rows.length / width
      const size = buckets.find((one) => one >= count) ?? count
      if (count === 0 || size === count) return await model.run(rows)
      const filled = new Float32Array(size * width)
      filled.set(rows)
      for (let row = count; row < size; row++) filled.copyWithin(row * width, (count - 1) * width, count * width)
      const { outputs, tookMs } = await model.run(filled)
      return { outputs: outputs.subarray(0, count * output.width), tookMs }
    },
  }
}

/** Runs of more than `largest` rows in several, one after another. */
export function inParts(run: RunRows, width: number, largest: number): RunRows {
  if (largest === Number.POSITIVE_INFINITY) return run
  return async (rows) => {
    const count = rows.length / width
    if (count <= largest) return run(rows)
    const parts: RunResult[] = []
    for (let from = 0; from < count; from += largest) {
      parts.push(await run(rows.subarray(from * width, Math.min(from + largest, count) * width)))
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
  let runMs = 0
  let at = 0
  for (const part of parts) {
    outputs.set(part.outputs, at * outputWidth)
    batchRows.set(part.batchRows, at)
    for (const [row, failure] of part.failures) failures.set(at + row, failure)
    runMs += part.runMs ?? Number.NaN
    at += part.batchRows.length
  }
  const tooMany = parts.some((part) => part.tooMany === true)
  const tookMs = Number.isNaN(runMs) ? undefined : runMs
  return { outputs, batchRows, failures, provider: first.provider, runMs: tookMs, tooMany }
}
