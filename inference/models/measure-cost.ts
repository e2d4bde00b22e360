import { performance } from 'node:perf_hooks'
import type { ModelProfile } from '../../schemas/control/models.ts'
import type { PreparedModel } from '../execution/executor.ts'
import type { Provider } from '../execution/run-rows.ts'
import { goldenFeatures } from './model-session.ts'

/** A slow model is measured on the first of them only. */
const SIZES = [1, 16, 128]
const RUNS = 7
const ENOUGH_MS = 150
/** What p99 / p50 is taken for where so few runs were made. */
const TAIL = 1.5

export interface MeasuredCost {
  readonly profile: ModelProfile
  /** Whether runs of several sizes told a from b; else they are half and half of a run of one row. */
  readonly isShapeKnown: boolean
}

/**
 * What a run costs, L(n) = a + b·n, from the shortest of a few runs of its golden rows. Rough: rows that come again flatter
 * trees. The batches correct it as they run.
 */
export async function measureCost(model: PreparedModel, provider: Provider): Promise<MeasuredCost> {
  const golden = goldenFeatures(model.manifest)
  const width = model.manifest.input.features.length
  const begun = performance.now()
  const shortest: { readonly rows: number; readonly us: number }[] = []
  for (const rows of SIZES) {
    const features = repeated(golden, rows * width)
    let us = Number.POSITIVE_INFINITY
    for (let run = 0; run < RUNS && (run === 0 || performance.now() - begun < ENOUGH_MS); run++) {
      const startedAt = performance.now()
      await model.run(features)
      us = Math.min(us, (performance.now() - startedAt) * 1_000)
    }
    shortest.push({ rows, us })
    if (performance.now() - begun >= ENOUGH_MS) break
  }
  const first = shortest[0] as (typeof shortest)[number]
  const last = shortest.at(-1) as (typeof shortest)[number]
  const isShapeKnown = last.rows > first.rows
  const rowUs = isShapeKnown ? Math.max(0, (last.us - first.us) / (last.rows - first.rows)) : first.us / 2
  return { profile: { provider, fixedUs: Math.max(0, first.us - rowUs), rowUs, tail: TAIL }, isShapeKnown }
}

function repeated(rows: Float32Array, length: number): Float32Array {
  const filled = new Float32Array(length)
  for (let at = 0; at < length; at += rows.length) filled.set(rows.subarray(0, Math.min(rows.length, length - at)), at)
  return filled
}
