import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { Dimension, OnnxSession, TensorInfo } from './onnx-session.ts'

/** What a model's inputs and outputs differ in from its manifest, naming the manifest's field; null when they fit. */
export function tensorProblem(
  { input, output }: ModelManifest,
  model: Pick<OnnxSession, 'inputs' | 'outputs'>,
): string | null {
  const features = input.features.length
  if (model.inputs.length !== 1) {
    return `input.tensor: ${input.tensor} is expected to be the only input, the model has ${names(model.inputs)}`
  }
  // a model with one output may leave its dimension out
  const outputShapes = output.width === 1 ? [[1], []] : [[output.width]]
  return (
    mismatch('input', 'features', features, model.inputs, input.tensor, [[features]]) ??
    mismatch('output', 'width', output.width, model.outputs, output.tensor, outputShapes)
  )
}

/** The tensor must be float32 [N, …] with N free and the rest one of `shapes`; a dimension that varies fits any size. */
function mismatch(
  side: 'input' | 'output',
  widthField: string,
  width: number,
  tensors: readonly TensorInfo[],
  name: string,
  shapes: readonly (readonly number[])[],
): string | null {
  const found = tensors.find((tensor) => tensor.name === name)
  if (found === undefined) return `${side}.tensor: ${name} is expected, the model has ${names(tensors)}`
  if (found.tensor === null) return `${side}.tensor: ${name} is no tensor in the model (export it without ZipMap)`
  const { type, shape } = found.tensor
  if (type !== 'float32') return `${side}.tensor: ${name} must be float32, in the model it is ${type}`
  const [rows, ...rest] = shape
  if (isSize(rows)) return `${side}.tensor: ${name} takes exactly ${rows} rows in the model, any number is needed`
  const fits = shapes.some(
    (sizes) => sizes.length === rest.length && sizes.every((size, at) => fitsSize(rest[at], size)),
  )
  if (fits) return null
  const dimensions = shape.map((dimension) => (isSize(dimension) ? dimension : 'N')).join(', ')
  return `${side}.${widthField}: ${width} per row are expected, in the model ${name} is [${dimensions}]`
}

function fitsSize(dimension: Dimension | undefined, size: number): boolean {
  return !isSize(dimension) || dimension === size
}

/** A dimension that varies has a name, or -1. */
function isSize(dimension: Dimension | undefined): dimension is number {
  return typeof dimension === 'number' && dimension >= 0
}

function names(tensors: readonly TensorInfo[]): string {
  return tensors.map(({ name }) => name).join(', ') || 'none'
}
