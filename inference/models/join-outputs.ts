import type { ModelOutput } from '../../schemas/pipeline/manifest/model-output.ts'
import type { TensorData } from './onnx-session.ts'

/**
 * The first `count` rows of a model's output tensors, side by side: [count, output.width]. Throws RangeError when a tensor has
 * another size than `total` rows, or a whole number that float32 does not hold. One float32 tensor is passed on as it is.
 */
export function joinOutputs(
  { tensors, width }: ModelOutput,
  results: readonly TensorData[],
  count: number,
  total: number,
): Float32Array {
  const [first] = results
  if (tensors.length === 1 && first instanceof Float32Array && first.length === total * width) {
    return count === total ? first : first.subarray(0, count * width)
  }
  for (const [at, { name, width: expected }] of tensors.entries()) {
    const length = results[at]?.length ?? 0
    if (length === total * expected) continue
    throw new RangeError(`output ${name}: ${expected} per row are expected, the model answers ${length / total}`)
  }
  const joined = new Float32Array(count * width)
  for (const [at, tensor] of tensors.entries()) {
    const data = results[at]
    const { name, offset } = tensor
    for (let row = 0, from = 0; row < count; row++) {
      const start = row * width + offset
      for (let to = start, end = start + tensor.width; to < end; to++, from++) {
        const value = data?.[from]
        joined[to] = data instanceof Float32Array ? (value as number) : single(name, value)
      }
    }
  }
  return joined
}

/** Every whole number up to it is a float32. */
const EXACT = 2 ** 24

function single(name: string, value: unknown): number {
  const number = Number(value)
  if (Math.abs(number) <= EXACT) return number
  const rounded = Math.fround(number)
  if (typeof value === 'bigint' ? BigInt(rounded) === value : rounded === number) return rounded
  throw new RangeError(`output ${name}: ${value} cannot be a float32 without losing digits`)
}
