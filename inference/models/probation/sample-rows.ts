import type { ModelManifest } from '../../../schemas/pipeline/manifest.ts'
import { goldenFeatures } from '../model-session.ts'

const PRIME = 7_919

/**
 * `count` rows for timing, that differ: each feature as in some golden row. A model that is given the same row again and
 * again looks faster than it is.
 */
export function mixedRows(manifest: ModelManifest, count: number): Float32Array {
  const width = manifest.input.features.length
  const golden = goldenFeatures(manifest)
  const rows = new Float32Array(count * width)
  let state = 1
  for (let at = 0; at < rows.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const source = (state >>> 8) % manifest.golden.length
    rows[at] = golden[source * width + (at % width)] as number
  }
  return rows
}

/** `count` rows, the golden rows over and over, and which of them each is. */
export function repeatedRows(
  manifest: ModelManifest,
  count: number,
): { readonly rows: Float32Array; readonly golden: readonly number[] } {
  const width = manifest.input.features.length
  const features = goldenFeatures(manifest)
  const rows = new Float32Array(count * width)
  const golden = Array.from({ length: count }, (_, row) => (row * PRIME) % manifest.golden.length)
  for (const [row, from] of golden.entries()) {
    rows.set(features.subarray(from * width, (from + 1) * width), row * width)
  }
  return { rows, golden }
}

/** The golden rows once for each feature that may be missing, without it, and one row without any of them. */
export function rowsWithout(manifest: ModelManifest): Float32Array {
  const { tensors, features } = manifest.input
  const width = features.length
  const optional = tensors.flatMap(({ type, columns }) => (type === 'float32' ? columns : []))
  const first = goldenFeatures(manifest).subarray(0, width)
  const rows = new Float32Array((optional.length + 1) * width)
  for (let row = 0; row <= optional.length; row++) rows.set(first, row * width)
  for (const [row, column] of optional.entries()) {
    rows[row * width + column] = Number.NaN
    rows[optional.length * width + column] = Number.NaN
  }
  return rows
}
