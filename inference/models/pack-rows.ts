import type { ModelInput } from '../../schemas/pipeline/manifest/model-input.ts'
import type { Feed, TensorInfo } from './onnx-session.ts'
import { bytesOf, columnSet, createPackColumns, type PackColumns } from './pack-columns.ts'

/** What a run is given; `free` it when the run has settled, not before: its memory serves again. */
interface PackedRows {
  readonly feeds: readonly Feed[]
  free(): void
}

/**
 * Rows [count, features] float32 as the inputs of a model. Throws RangeError when a feature of an int64 input is no whole
 * number. The rows of a model with one float32 input in the order of its features are passed on as they are.
 */
export type PackRows = (rows: Float32Array, count: number) => PackedRows

/** The one input that takes rows as they are; null = they have to be packed. */
function rowsInput({ tensors, features }: ModelInput): string | null {
  const [only] = tensors
  if (only?.type !== 'float32' || only.columns.length !== features.length) return null
  return only.columns.every((at, to) => at === to) ? only.name : null
}

/** What a run is given for a row where that is not the row itself, bytes; 0 = it is. */
export function packedBytes(input: ModelInput): number {
  if (rowsInput(input) !== null) return 0
  return input.tensors.reduce((bytes, { type, columns }) => bytes + columns.length * bytesOf(type), 0)
}

export function createPackRows(input: ModelInput, infos: readonly TensorInfo[]): PackRows {
  const { tensors, features } = input
  const shapes = tensors.map(({ name, columns }) => {
    const flat = infos.find((info) => info.name === name)?.tensor?.shape.length === 1
    return (count: number) => (flat ? [count] : [count, columns.length])
  })
  const shapeOf = (at: number, count: number): number[] => (shapes[at] as (count: number) => number[])(count)
  const name = rowsInput(input)
  if (name !== null) {
    return (rows, count) => ({ feeds: [{ name, data: rows, shape: shapeOf(0, count) }], free: () => {} })
  }

  const sets = tensors.map(({ type, columns }) => columnSet(type, columns))
  /** Those whose memory no run reads. */
  const idle: PackColumns[] = []

  return (rows, count) => {
    const pack = idle.pop() ?? createPackColumns(features.length, sets)
    const packed = pack(rows, count)
    const feeds = tensors.map(({ name }, at): Feed => {
      return { name, data: packed[at] as Feed['data'], shape: shapeOf(at, count) }
    })
    return { feeds, free: () => void idle.push(pack) }
  }
}
