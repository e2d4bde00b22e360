import { bytesOf, numberOf, readFields, textOf } from '../probation/wire-reader.ts'

/*
 *   ModelProto      graph 7, metadata_props 14
 *   GraphProto      initializer 5, input 11, output 12
 *   ValueInfoProto  name 1, type 2; its tensor_type 1 has elem_type 1 and shape 2, that has dim 1 with dim_value 1
 */

/** What an ONNX file says of itself, without loading it. */
export interface OnnxFacts {
  readonly metadata: ReadonlyMap<string, string>
  /** Without those that the file itself gives a value. */
  readonly inputs: readonly TensorFacts[]
  readonly outputs: readonly TensorFacts[]
}

export interface TensorFacts {
  readonly name: string
  /** Null when it is no tensor, or one of another type. */
  readonly type: 'float32' | 'int64' | 'int32' | 'bool' | null
  /** Sizes; null = it varies. */
  readonly shape: readonly (number | null)[]
}

const TYPES = new Map<number, NonNullable<TensorFacts['type']>>([
  [1, 'float32'],
  [6, 'int32'],
  [7, 'int64'],
  [9, 'bool'],
])

/** Throws WireError when it is no ONNX file. */
export function readOnnxFacts(model: Buffer): OnnxFacts {
  const metadata = new Map<string, string>()
  const inputs: TensorFacts[] = []
  const outputs: TensorFacts[] = []
  const constants = new Set<string>()
  for (const graph of messagesIn(model, 7)) {
    readFields(graph, (field, value) => {
      if (field === 5) constants.add(textIn(bytesOf(value), 8))
      if (field === 11) inputs.push(tensorFacts(bytesOf(value)))
      if (field === 12) outputs.push(tensorFacts(bytesOf(value)))
    })
  }
  for (const entry of messagesIn(model, 14)) metadata.set(textIn(entry, 1), textIn(entry, 2))
  return { metadata, inputs: inputs.filter(({ name }) => !constants.has(name)), outputs }
}

function tensorFacts(value: Buffer): TensorFacts {
  let type: TensorFacts['type'] = null
  const shape: (number | null)[] = []
  for (const tensor of messagesIn(value, 2).flatMap((each) => messagesIn(each, 1))) {
    readFields(tensor, (field, member) => {
      if (field === 1) type = TYPES.get(numberOf(member)) ?? null
      if (field !== 2) return
      for (const dimension of messagesIn(bytesOf(member), 1)) shape.push(sizeOf(dimension))
    })
  }
  return { name: textIn(value, 1), type, shape }
}

function sizeOf(dimension: Buffer): number | null {
  let size: number | null = null
  readFields(dimension, (field, value) => {
    if (field === 1) size = numberOf(value)
  })
  return size
}

function messagesIn(message: Buffer, wanted: number): readonly Buffer[] {
  const found: Buffer[] = []
  readFields(message, (field, value) => {
    if (field === wanted) found.push(bytesOf(value))
  })
  return found
}

function textIn(message: Buffer, wanted: number): string {
  let found = ''
  readFields(message, (field, value) => {
    if (field === wanted) found = textOf(value)
  })
  return found
}
