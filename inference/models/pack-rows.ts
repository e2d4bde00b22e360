import type { ModelInput } from '../../schemas/pipeline/manifest/model-input.ts'
import type { Feed, TensorInfo } from './onnx-session.ts'

/** What a run is given; `free` it when the run has settled, not before: its buffers serve again. */
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
  const columnsOf = tensors.map(({ columns }) => Int32Array.from(columns))
  const shapes = tensors.map(({ name, columns }) => {
    const flat = infos.find((info) => info.name === name)?.tensor?.shape.length === 1
    return (count: number) => (flat ? [count] : [count, columns.length])
  })
  const [only] = tensors
  if (
    only?.type === 'float32' &&
    only.columns.length === features.length &&
    only.columns.every((at, to) => at === to)
  ) {
    const { name } = only
    const shapeOf = shapes[0] as (count: number) => number[]
    return (rows, count) => ({ feeds: [{ name, data: rows, shape: shapeOf(count) }], free: () => {} })
  }

  const width = features.length
  /** Buffers that no run reads. */
  const idle: Buffers[] = []

  return (rows, count) => {
    const buffers = idle.pop() ?? tensors.map(() => null)
    const feeds = tensors.map(({ name, type }, at): Feed => {
      const columns = columnsOf[at] as Int32Array
      const length = count * columns.length
      const own = buffers[at]
      const known = own != null && own.length >= length ? own : null
      const buffer = known ?? (type === 'float32' ? new Float32Array(length) : new BigInt64Array(length))
      buffers[at] = buffer
      if (buffer instanceof Float32Array) gather(rows, width, count, columns, buffer)
      else gatherWhole(rows, width, count, columns, buffer)
      return { name, data: buffer.subarray(0, length), shape: shapes[at]?.(count) ?? [] }
    })
    return { feeds, free: () => void idle.push(buffers) }
  }
}

/** Where the words of an int64 are, by the byte order of this machine. */
const LOW = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 0 : 1
const HIGH = 1 - LOW

/** By tensor, as long as the most rows took. */
type Buffers = (Float32Array | BigInt64Array | null)[]

// The loops count: `for of` over the columns took four times as long.

function gather(rows: Float32Array, width: number, count: number, columns: Int32Array, target: Float32Array): void {
  const { length } = columns
  let to = 0
  for (let row = 0, from = 0; row < count; row++, from += width) {
    for (let at = 0; at < length; at++) target[to++] = rows[from + (columns[at] as number)] as number
  }
}

/**
 * Whole numbers below 2³¹, which ids and counts are, are written as two words: a BigInt for each would take longer than many a
 * model does.
 */
function gatherWhole(
  rows: Float32Array,
  width: number,
  count: number,
  columns: Int32Array,
  target: BigInt64Array,
): void {
  const words = new Int32Array(target.buffer, target.byteOffset, 2 * target.length)
  const { length } = columns
  let to = 0
  for (let row = 0, from = 0; row < count; row++, from += width) {
    for (let at = 0; at < length; at++, to++) {
      const value = rows[from + (columns[at] as number)] as number
      const low = value | 0
      if (low === value) {
        words[2 * to + LOW] = low
        words[2 * to + HIGH] = low >> 31
      } else {
        target[to] = BigInt(value)
      }
    }
  }
}
