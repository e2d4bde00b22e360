import type { DeadLetterReason } from '../schemas/dead-letter-reasons.ts'
import type { CompiledModelChoice } from '../schemas/pipeline/compiled.ts'
import { outputTensorOf, tensorOfOutput } from '../schemas/pipeline/manifest/model-output.ts'
import type { ModelManifest } from '../schemas/pipeline/manifest.ts'

/** What a model's output row says. */
export interface Answer {
  readonly score: number
  /** Name of the largest output, where the model names its outputs. */
  readonly label: string | null
  readonly outputs: readonly number[]
}

export interface OutputProblem {
  readonly reason: DeadLetterReason
  readonly message: string
}

/** Rounding of a float32: a softmax may add up to a little more than 1. */
const RANGE_SLACK = 1e-6

/**
 * Checks an output row [manifest.output.width] and picks the score that the pipeline asks for, which it counts within the
 * tensor that it names; so is the largest, whose name is the label.
 */
export function readOutputs(
  manifest: ModelManifest,
  choice: CompiledModelChoice,
  row: Float32Array,
): { readonly ok: true; readonly answer: Answer } | { readonly ok: false; readonly problem: OutputProblem } {
  const { ranges, classes } = manifest.output
  const { offset, width } = outputTensorOf(manifest.output, choice.output.tensor)
  const nameOf = (at: number): string => {
    const tensor = tensorOfOutput(manifest.output, at)
    return `${tensor.name}[${at - tensor.offset}]`
  }
  let largest = offset
  for (let at = 0; at < row.length; at++) {
    const value = row[at] as number
    if (!Number.isFinite(value)) {
      return { ok: false, problem: { reason: 'output_not_finite', message: `${nameOf(at)} is ${value}` } }
    }
    const range = ranges[at] ?? null
    if (range !== null && !withinRange(value, range)) {
      const message = `${nameOf(at)} is ${value}, outside ${range[0]} to ${range[1]}`
      return { ok: false, problem: { reason: 'output_out_of_range', message } }
    }
    if (at >= offset && at < offset + width && value > (row[largest] as number)) largest = at
  }
  const { index } = choice.output
  const score = row[index === 'max' ? largest : offset + index] as number
  return { ok: true, answer: { score, label: classes?.[largest] ?? null, outputs: Array.from(row) } }
}

/** Inclusive, with a float32's slack. */
export function withinRange(value: number, [low, high]: readonly [number, number]): boolean {
  return (
    value >= low - RANGE_SLACK * Math.max(1, Math.abs(low)) && value <= high + RANGE_SLACK * Math.max(1, Math.abs(high))
  )
}
