import type { ModelInput } from '../../schemas/pipeline/manifest/model-input.ts'
import type { Feed, TensorInfo } from './onnx-session.ts'
import { columnSet, createPackColumns, type PackColumns } from './pack-columns.ts'

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

export function createPackRows({ tensors, features }: ModelInput, infos: readonly TensorInfo[]): PackRows {
  const shapes = tensors.map(({ name, columns }) => {
    const flat = infos.find((info) => info.name === name)?.tensor?.shape.length === 1
    return (count: number) => (flat ? [count] : [count, columns.length])
  })
  const shapeOf = (at: number, count: number): number[] => (shapes[at] as (count: number) => number[])(count)
  const [only] = tensors
  if (
    only?.type === 'float32' &&
    only.columns.length === features.length &&
    only.columns.every((at, to) => at === to)
  ) {
    const { name } = only
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
