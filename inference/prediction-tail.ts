import { avroString, MAX_LONG_BYTES, writeLong } from '../infra/runtime/avro/avro-bytes.ts'
import { copyBytes } from '../infra/runtime/vectors.ts'
import type { Prediction } from '../schemas/generated/records.ts'
import type { CompiledModelChoice } from '../schemas/pipeline/compiled.ts'
import { type OutputRange, outputTensorOf } from '../schemas/pipeline/manifest/model-output.ts'
import type { ModelManifest } from '../schemas/pipeline/manifest.ts'
import type { Provider } from './execution/run-rows.ts'
import { withinRange } from './read-outputs.ts'

/**
 * What a prediction (schemas/avro/prediction.avsc) says behind the fields that it shares with its vector:
 *
 *   model, model_version, model_digest: strings, role: enum
 *   score: float, outputs: count, little-endian floats, 0, label: union index, string
 *   provider: enum, batch_rows: int, scored_at: long, answer: enum
 */
export interface PredictionTail {
  /** Most bytes that it takes. */
  readonly room: number
  /**
   * Writes it behind a vector that ends at `at`; the position after it. -1 when the outputs of `row` may not be used:
   * `readOutputs` says why.
   */
  write(target: Buffer, at: number, outputs: Float32Array, row: number, run: RunFacts): number
  /** What the last `write` that succeeded wrote as score. */
  readonly score: number
  /** The same for the pipeline's fallback. Throws when it has none. */
  writeFallback(target: Buffer, at: number, scoredAt: number): number
}

/** Of the run that answered. */
export interface RunFacts {
  batchRows: number
  provider: Provider
  /** Epoch ms. */
  scoredAt: number
  late: boolean
}

/** Enums by index, as Avro writes it: doubled. */
const ROLES: Readonly<Record<Prediction['role'], number>> = { primary: 0, canary: 2, shadow: 4 }
const CPU = 0
const CUDA = 2
const SCORED = 0
const LATE = 2
const FALLBACK = 4

const FLOAT_BYTES = 4
const SOME = 2
const NULL = 0

export function createPredictionTail(
  manifest: ModelManifest,
  choice: CompiledModelChoice,
  role: Prediction['role'],
): PredictionTail {
  const { width, ranges, classes } = manifest.output
  const { fallback } = choice
  const { index } = choice.output
  const asked = outputTensorOf(manifest.output, choice.output.tensor)
  const askedEnd = asked.offset + asked.width
  const model = Buffer.concat([
    ...[manifest.name, manifest.version, manifest.sha256].map(avroString),
    Buffer.from([ROLES[role]]),
  ])
  const count = avroString(' '.repeat(width)).subarray(0, -width)
  const labels = classes?.map(avroString) ?? []
  const fallbackLabel = fallback === null || fallback.label === null ? undefined : avroString(fallback.label)
  const labelBytes = Math.max(0, ...[...labels, fallbackLabel ?? ''].map(({ length }) => length))
  let view: DataView = new DataView(new ArrayBuffer(0))
  let viewed: Buffer | null = null
  let score = 0

  function begin(target: Buffer, start: number, value: number): number {
    if (viewed !== target) {
      viewed = target
      view = new DataView(target.buffer, target.byteOffset, target.length)
    }
    const at = copyBytes(target, start, model, 0, model.length)
    view.setFloat32(at, value, true)
    return at + FLOAT_BYTES
  }

  function writeLabel(target: Buffer, start: number, label: Buffer | undefined): number {
    let at = start
    if (label === undefined) {
      target[at++] = NULL
      return at
    }
    target[at++] = SOME
    return copyBytes(target, at, label, 0, label.length)
  }

  return {
    get score() {
      return score
    },
    room: model.length + count.length + (width + 1) * FLOAT_BYTES + labelBytes + 4 + 2 * MAX_LONG_BYTES,

    write(target, start, outputs, row, run) {
      const first = row * width
      let largest = asked.offset
      for (let at = 0; at < width; at++) {
        const value = outputs[first + at] as number
        const range = ranges[at] as OutputRange | null
        if (value - value !== 0 || (range !== null && !withinRange(value, range))) return -1
        if (value > (outputs[first + largest] as number) && at >= asked.offset && at < askedEnd) largest = at
      }
      score = outputs[first + (index === 'max' ? largest : asked.offset + index)] as number
      let at = begin(target, start, score)
      at = copyBytes(target, at, count, 0, count.length)
      for (let output = 0; output < width; output++) {
        view.setFloat32(at, outputs[first + output] as number, true)
        at += FLOAT_BYTES
      }
      target[at++] = 0
      at = writeLabel(target, at, labels[largest])
      target[at++] = run.provider === 'cpu' ? CPU : CUDA
      at = writeLong(target, at, run.batchRows)
      at = writeLong(target, at, run.scoredAt)
      target[at++] = run.late ? LATE : SCORED
      return at
    },

    writeFallback(target, start, scoredAt) {
      if (fallback === null) throw new Error('the pipeline has no fallback')
      let at = begin(target, start, fallback.score)
      target[at++] = 0
      at = writeLabel(target, at, fallbackLabel)
      target[at++] = CPU
      at = writeLong(target, at, 0)
      at = writeLong(target, at, scoredAt)
      target[at++] = FALLBACK
      return at
    },
  }
}
