import type { DeadLetterReason } from '../schemas/dead-letter-reasons.ts'
import type { ModelManifest } from '../schemas/pipeline/manifest.ts'

/** Every whole number up to it is a float32; above it a float32 may stand for another one. */
const EXACT = 2 ** 24

/** Why the model may not be given this vector; null when it may. */
export function vectorProblem(
  { input }: ModelManifest,
  features: ArrayLike<number>,
): { readonly reason: DeadLetterReason; readonly message: string } | null {
  const width = input.features.length
  if (features.length !== width) {
    const message = `${features.length} features where the feature set has ${width}`
    return { reason: 'feature_width', message }
  }
  const whole = wholeColumns(input)
  for (let column = 0; column < width; column++) {
    const value = features[column] as number
    const name = input.features[column]?.name ?? String(column)
    if (Number.isNaN(value)) {
      if (input.missing === 'nan' && !whole.includes(column)) continue
      return { reason: 'non_finite', message: `feature ${name} is missing, which the model does not take` }
    }
    if (!Number.isFinite(value)) return { reason: 'non_finite', message: `feature ${name} is infinite` }
    const range = input.ranges[column] ?? null
    if (range !== null && (value < range[0] || value > range[1])) {
      const message = `feature ${name} is ${value}, the model takes ${range[0]} to ${range[1]}`
      return { reason: 'feature_out_of_range', message }
    }
    if (whole.includes(column) && !isExact(value)) {
      const message = `feature ${name} is ${value}, the model takes whole numbers up to ${EXACT}`
      return { reason: 'feature_not_whole', message }
    }
  }
  return null
}

/** Whether the model may be given row `row` of features [rows, width]; where it says no, `vectorProblem` says why. */
export type RowCheck = (features: Float32Array, row: number) => boolean

export function createRowCheck({ input }: ModelManifest): RowCheck {
  const width = input.features.length
  const takes = input.missing === 'nan' ? finiteOrMissing(width) : finite(width)
  const ranged = Int32Array.from(input.ranges.flatMap((range, column) => (range === null ? [] : column)))
  const whole = Int32Array.from(wholeColumns(input))
  if (ranged.length === 0 && whole.length === 0) return takes

  const low = Float64Array.from(ranged, (column) => input.ranges[column]?.[0] ?? Number.NEGATIVE_INFINITY)
  const high = Float64Array.from(ranged, (column) => input.ranges[column]?.[1] ?? Number.POSITIVE_INFINITY)
  return (features, row) => {
    if (!takes(features, row)) return false
    const from = row * width
    for (let at = 0; at < ranged.length; at++) {
      const value = features[from + (ranged[at] as number)] as number
      if (value < (low[at] as number) || value > (high[at] as number)) return false
    }
    for (let at = 0; at < whole.length; at++) {
      if (!isExact(features[from + (whole[at] as number)] as number)) return false
    }
    return true
  }
}

function finite(width: number): RowCheck {
  return (features, row) => {
    for (let at = row * width, end = at + width; at < end; at++) {
      const value = features[at] as number
      if (value - value !== 0) return false
    }
    return true
  }
}

function finiteOrMissing(width: number): RowCheck {
  return (features, row) => {
    for (let at = row * width, end = at + width; at < end; at++) {
      const value = features[at] as number
      if (value - value !== 0 && !Number.isNaN(value)) return false
    }
    return true
  }
}

/** Of the features that are in an int64 input. */
function wholeColumns({ tensors }: ModelManifest['input']): readonly number[] {
  return tensors.flatMap(({ type, columns }) => (type === 'int64' ? columns : []))
}

function isExact(value: number): boolean {
  return Math.trunc(value) === value && Math.abs(value) <= EXACT
}
