/*
 * As much of ONNX's protocol buffers (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) as small models need.
 * A message is fields of `(number << 3) | wire type`: 0 varint, 2 length and bytes, 5 four bytes.
 */

const VARINT = 0
const BYTES = 2
const FIXED32 = 5
const FLOAT = 1
const INT64 = 7
const BOOL = 9
/** Of TensorProto.DataLocation. */
const EXTERNAL = 1

/** A negative one as the 64 bits of its two's complement. */
function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return Buffer.from([...bytes, Number(rest)])
}

const int = (field: number, value: number): Buffer => Buffer.concat([varint((field << 3) | VARINT), varint(value)])
const bytes = (field: number, value: Buffer | string): Buffer => {
  const content = Buffer.from(value)
  return Buffer.concat([varint((field << 3) | BYTES), varint(content.length), content])
}
const message = (field: number, ...parts: readonly Buffer[]): Buffer => bytes(field, Buffer.concat(parts))
const float = (field: number, value: number): Buffer => {
  const content = Buffer.alloc(4)
  content.writeFloatLE(value)
  return Buffer.concat([varint((field << 3) | FIXED32), content])
}

export type Attribute =
  | number
  | string
  | readonly number[]
  | readonly string[]
  | { readonly floats: readonly number[] }
  | { readonly graph: OnnxGraph }

function attribute(name: string, value: Attribute): Buffer {
  const [type, content] = attributeContent(value)
  return message(5, bytes(1, name), content, int(20, type))
}

/** Of AttributeProto: the type (2 = int, 3 = string, 5 = graph, 6 = floats, 7 = ints, 8 = strings), and its field. */
function attributeContent(value: Attribute): readonly [type: number, content: Buffer] {
  if (typeof value === 'number') return [2, int(3, value)]
  if (typeof value === 'string') return [3, bytes(4, value)]
  if ('floats' in value) return [6, Buffer.concat(value.floats.map((one) => float(7, one)))]
  if ('graph' in value) return [5, message(6, ...graphOf(value.graph))]
  const list: readonly (number | string)[] = value
  if (typeof list[0] === 'string') return [8, Buffer.concat(list.map((one) => bytes(9, String(one))))]
  return [7, Buffer.concat(list.map((one) => int(8, Number(one))))]
}

export interface OnnxNode {
  readonly operator: string
  readonly domain?: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes?: Readonly<Record<string, Attribute>>
}

export interface Weights {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array | BigInt64Array
  /** File beside the model that holds them, relative to it; nothing of them is in the model then. */
  readonly external?: string
}

/** A tensor [N, width] of float32, or of another type, or of exactly so many rows; width null = [N]. */
export interface Matrix {
  readonly name: string
  readonly width: number | null
  readonly type?: 'float32' | 'int64'
  readonly rows?: number
}

/** A single value, as the turns of a loop have them. */
export interface Scalar {
  readonly name: string
  readonly scalar: 'int64' | 'bool'
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[]
  readonly weights: readonly Weights[]
  readonly input: Matrix | readonly (Matrix | Scalar)[]
  readonly output: Matrix | readonly (Matrix | Scalar)[]
}

/** An operator of the model's own. */
export interface LocalFunction {
  readonly name: string
  readonly domain: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly nodes: readonly OnnxNode[]
}

export function onnxModel(model: OnnxGraph & { readonly functions?: readonly LocalFunction[] }): Buffer {
  const { functions = [] } = model
  const nodes = [...model.nodes, ...functions.flatMap((each) => each.nodes)]
  const domains = [...new Set(['', 'ai.onnx.ml', ...nodes.flatMap(({ domain }) => domain ?? [])])]
  const opsets = (field: number): readonly Buffer[] =>
    domains.map((domain) => message(field, bytes(1, domain), int(2, OPSETS.get(domain) ?? 1)))
  return Buffer.concat([
    int(1, 8),
    bytes(2, 'millrace'),
    message(7, ...graphOf(model)),
    ...opsets(8),
    ...functions.map((each) =>
      message(
        25,
        bytes(1, each.name),
        ...each.inputs.map((name) => bytes(4, name)),
        ...each.outputs.map((name) => bytes(5, name)),
        ...each.nodes.map((node) => nodeOf(7, node)),
        ...opsets(9),
        bytes(10, each.domain),
      ),
    ),
  ])
}

function graphOf({ nodes, weights, input, output }: OnnxGraph): readonly Buffer[] {
  return [
    ...nodes.map((node) => nodeOf(1, node)),
    bytes(2, 'bench'),
    ...weights.map(weightsOf),
    ...[input].flat().map((value) => message(11, ...tensorOf(value))),
    ...[output].flat().map((value) => message(12, ...tensorOf(value))),
  ]
}

function nodeOf(field: number, { operator, domain, inputs, outputs, attributes = {} }: OnnxNode): Buffer {
  return message(
    field,
    ...inputs.map((name) => bytes(1, name)),
    ...outputs.map((name) => bytes(2, name)),
    bytes(4, operator),
    ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    ...(domain === undefined ? [] : [bytes(7, domain)]),
  )
}

function weightsOf({ name, shape, values, external }: Weights): Buffer {
  return message(
    5,
    ...shape.map((size) => int(1, size)),
    int(2, values instanceof Float32Array ? FLOAT : INT64),
    bytes(8, name),
    ...(external === undefined
      ? [bytes(9, Buffer.from(values.buffer, values.byteOffset, values.byteLength))]
      : [message(13, bytes(1, 'location'), bytes(2, external)), int(14, EXTERNAL)]),
  )
}

const OPSETS: ReadonlyMap<string, number> = new Map([
  ['', 15],
  ['ai.onnx.ml', 3],
])

function tensorOf(value: Matrix | Scalar): readonly Buffer[] {
  if ('scalar' in value) {
    const tensor = [int(1, value.scalar === 'bool' ? BOOL : INT64), message(2)]
    return [bytes(1, value.name), message(2, message(1, ...tensor))]
  }
  const { name, width, type = 'float32', rows } = value
  const batch = message(1, rows === undefined ? bytes(2, 'N') : int(1, rows))
  const shape = message(2, batch, ...(width === null ? [] : [message(1, int(1, width))]))
  return [bytes(1, name), message(2, message(1, int(1, type === 'float32' ? FLOAT : INT64), shape))]
}
