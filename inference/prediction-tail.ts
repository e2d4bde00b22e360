import { avroString, MAX_LONG_BYTES, writeLong } from '../infra/runtime/avro/avro-bytes.ts'
import { copyBytes } from '../infra/runtime/vectors.ts'
import type { CompiledModelChoice } from '../schemas/pipeline/compiled.ts'
import type { ModelManifest } from '../schemas/pipeline/manifest.ts'
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
  write(target: Buffer, at: number, outputs: Float32Array, row: number, batchRows: number, scoredAt: number): number
}

/** Enums by index: role `primary`, provider `cpu`, answer `scored`. */
const PRIMARY = 0
const CPU = 0
const SCORED = 0
const FLOAT_BYTES = 4
const SOME = 2
const NULL = 0

export function createPredictionTail(manifest: ModelManifest, choice: CompiledModelChoice): PredictionTail {
  const { width, range, classes } = manifest.output
  const model = Buffer.concat([
    ...[manifest.name, manifest.version, manifest.sha256].map(avroString),
    Buffer.from([PRIMARY]),
  ])
  const count = avroString(' '.repeat(width)).subarray(0, -width)
  const labels = classes?.map(avroString) ?? []
  const labelBytes = Math.max(0, ...labels.map(({ length }) => length))
  const { index } = choice.output
  let view: DataView = new DataView(new ArrayBuffer(0))
  let viewed: Buffer | null = null

  return {
    room: model.length + count.length + (width + 1) * FLOAT_BYTES + labelBytes + 4 + 2 * MAX_LONG_BYTES,

    write(target, start, outputs, row, batchRows, scoredAt) {
      const first = row * width
      let largest = 0
      for (let at = 0; at < width; at++) {
        const value = outputs[first + at] as number
        if (value - value !== 0 || (range !== null && !withinRange(value, range))) return -1
        if (value > (outputs[first + largest] as number)) largest = at
      }
      if (viewed !== target) {
        viewed = target
        view = new DataView(target.buffer, target.byteOffset, target.length)
      }
      let at = copyBytes(target, start, model, 0, model.length)
      view.setFloat32(at, outputs[first + (index === 'max' ? largest : index)] as number, true)
      at = copyBytes(target, at + FLOAT_BYTES, count, 0, count.length)
      for (let output = 0; output < width; output++) {
        view.setFloat32(at, outputs[first + output] as number, true)
        at += FLOAT_BYTES
      }
      target[at++] = 0
      const label = labels[largest]
      if (label === undefined) target[at++] = NULL
      else {
        target[at++] = SOME
        at = copyBytes(target, at, label, 0, label.length)
      }
      target[at++] = CPU
      at = writeLong(target, at, batchRows)
      at = writeLong(target, at, scoredAt)
      target[at++] = SCORED
      return at
    },
  }
}
