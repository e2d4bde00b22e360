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
      if (input.missing === 'nan' && whole[column] === 0) continue
      return { reason: 'non_finite', message: `feature ${name} is missing, which the model does not take` }
    }
    if (!Number.isFinite(value)) return { reason: 'non_finite', message: `feature ${name} is infinite` }
    const range = input.ranges[column] ?? null
    if (range !== null && (value < range[0] || value > range[1])) {
      const message = `feature ${name} is ${value}, the model takes ${range[0]} to ${range[1]}`
      return { reason: 'feature_out_of_range', message }
    }
    if (whole[column] === 1 && !isExact(value)) {
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
  const takesMissing = input.missing === 'nan'
  const whole = wholeColumns(input)
  const ranged = input.ranges.some((range) => range !== null)
  if (!ranged && !whole.includes(1)) return takesMissing ? finiteOrMissing(width) : finite(width)

  const low = Float64Array.from(input.ranges, (range) => range?.[0] ?? Number.NEGATIVE_INFINITY)
  const high = Float64Array.from(input.ranges, (range) => range?.[1] ?? Number.POSITIVE_INFINITY)
  return (features, row) => {
    const from = row * width
    for (let column = 0; column < width; column++) {
      const value = features[from + column] as number
      const isWhole = whole[column] === 1
      if (value - value !== 0 && !(takesMissing && !isWhole && Number.isNaN(value))) return false
      if (value < (low[column] as number) || value > (high[column] as number)) return false
      if (isWhole && !isExact(value)) return false
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

/** 1 for a feature of an int64 input, by column. */
function wholeColumns({ tensors, features }: ModelManifest['input']): Uint8Array {
  const whole = new Uint8Array(features.length)
  for (const { type, columns } of tensors) if (type === 'int64') for (const column of columns) whole[column] = 1
  return whole
}

function isExact(value: number): boolean {
  return Number.isInteger(value) && Math.abs(value) <= EXACT
}
