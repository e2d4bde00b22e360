import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { Dimension, OnnxSession, TensorInfo } from './onnx-session.ts'

/** Types whose values become float32 where they are exact in it. */
const OUTPUT_TYPES = ['float32', 'int64', 'int32', 'bool']

/** What a model's inputs and outputs differ in from its manifest, naming the manifest's field; null when they fit. */
export function tensorProblem(
  { input, output }: ModelManifest,
  model: Pick<OnnxSession, 'inputs' | 'outputs'>,
): string | null {
  const several = input.tensors.length > 1
  const unknown = model.inputs.find(({ name }) => !input.tensors.some((tensor) => tensor.name === name))
  for (const [at, { name, type, columns }] of input.tensors.entries()) {
    const place = several ? `input.tensors[${at}]` : 'input'
    const problem = mismatch(model.inputs, {
      name,
      place: several ? `${place}.name` : 'input.tensor',
      widthPlace: `${place}.features`,
      width: columns.length,
      types: [type],
      batch: input.batch,
    })
    if (problem !== null) return problem
  }
  if (unknown !== undefined) {
    return `input.${several ? 'tensors' : 'tensor'}: the model also takes ${unknown.name}, which no feature is for`
  }
  const noTensor = model.outputs.find(({ tensor }) => tensor === null)
  if (noTensor !== undefined) {
    return `output.tensor: ${noTensor.name} is no tensor in the model (export it without ZipMap)`
  }
  for (const [at, { name, width }] of output.tensors.entries()) {
    const place = output.tensors.length > 1 ? `output.tensors[${at}]` : 'output'
    const problem = mismatch(model.outputs, {
      name,
      place: output.tensors.length > 1 ? `${place}.name` : 'output.tensor',
      widthPlace: `${place}.width`,
      width,
      types: OUTPUT_TYPES,
      batch: input.batch,
    })
    if (problem !== null) return problem
  }
  return null
}

interface Expected {
  readonly name: string
  /** The manifest's fields of the tensor's name and of its width. */
  readonly place: string
  readonly widthPlace: string
  readonly width: number
  readonly types: readonly string[]
  readonly batch: number | null
}

/** The tensor must be [N, width], or [N] for a width of 1; a dimension that varies fits any size. */
function mismatch(tensors: readonly TensorInfo[], expected: Expected): string | null {
  const { name, place, width, types, batch } = expected
  const found = tensors.find((tensor) => tensor.name === name)
  if (found === undefined) return `${place}: ${name} is expected, the model has ${names(tensors)}`
  if (found.tensor === null) return `${place}: ${name} is no tensor in the model`
  const { type, shape } = found.tensor
  if (!types.includes(type)) return `${place}: ${name} must be ${types.join(', ')}, in the model it is ${type}`
  const [rows, ...rest] = shape
  if (isSize(rows) && rows !== batch) {
    return `input.batch: the model has ${rows} rows in ${name}, the manifest says ${batch ?? 'any number'}`
  }
  if (rest.length === 1 && fitsSize(rest[0], width)) return null
  if (shape.length === 1 && width === 1) return null
  const dimensions = shape.map((dimension) => (isSize(dimension) ? dimension : 'N')).join(', ')
  return `${expected.widthPlace}: ${width} per row are expected, in the model ${name} is [${dimensions}]`
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
