/*
 * As much of ONNX's protocol buffers (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) as small models need.
 * A message is fields of `(number << 3) | wire type`: 0 varint, 2 length and bytes, 5 four bytes.
 */

const VARINT = 0
const BYTES = 2
const FIXED32 = 5
const FLOAT = 1
const INT64 = 7
/** Of TensorProto.DataLocation. */
const EXTERNAL = 1

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  return Buffer.from([...bytes, rest])
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

export type Attribute = number | string | readonly number[] | readonly string[] | { readonly floats: readonly number[] }

function attribute(name: string, value: Attribute): Buffer {
  const [type, content] = attributeContent(value)
  return message(5, bytes(1, name), content, int(20, type))
}

/** Of AttributeProto: the type (2 = int, 3 = string, 6 = floats, 7 = ints, 8 = strings), and its field. */
function attributeContent(value: Attribute): readonly [type: number, content: Buffer] {
  if (typeof value === 'number') return [2, int(3, value)]
  if (typeof value === 'string') return [3, bytes(4, value)]
  if ('floats' in value) return [6, Buffer.concat(value.floats.map((one) => float(7, one)))]
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

export function onnxModel(model: {
  readonly nodes: readonly OnnxNode[]
  readonly weights: readonly Weights[]
  readonly input: Matrix | readonly Matrix[]
  readonly output: Matrix | readonly Matrix[]
}): Buffer {
  const nodes = model.nodes.map(({ operator, domain, inputs, outputs, attributes = {} }) =>
    message(
      1,
      ...inputs.map((name) => bytes(1, name)),
      ...outputs.map((name) => bytes(2, name)),
      bytes(4, operator),
      ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
      ...(domain === undefined ? [] : [bytes(7, domain)]),
    ),
  )
  const weights = model.weights.map(({ name, shape, values, external }) =>
    message(
      5,
      ...shape.map((size) => int(1, size)),
      int(2, values instanceof Float32Array ? FLOAT : INT64),
      bytes(8, name),
      ...(external === undefined
        ? [bytes(9, Buffer.from(values.buffer, values.byteOffset, values.byteLength))]
        : [message(13, bytes(1, 'location'), bytes(2, external)), int(14, EXTERNAL)]),
    ),
  )
  const graph = [
    ...nodes,
    bytes(2, 'bench'),
    ...weights,
    ...[model.input].flat().map((input) => message(11, ...matrix(input))),
    ...[model.output].flat().map((output) => message(12, ...matrix(output))),
  ]
  const domains = [...new Set(['', 'ai.onnx.ml', ...model.nodes.flatMap(({ domain }) => domain ?? [])])]
  const opsets = domains.map((domain) => message(8, bytes(1, domain), int(2, OPSETS.get(domain) ?? 1)))
  return Buffer.concat([int(1, 8), bytes(2, 'millrace'), message(7, ...graph), ...opsets])
}

const OPSETS: ReadonlyMap<string, number> = new Map([
  ['', 15],
  ['ai.onnx.ml', 3],
])

function matrix({ name, width, type = 'float32', rows }: Matrix): readonly Buffer[] {
  const batch = message(1, rows === undefined ? bytes(2, 'N') : int(1, rows))
  const shape = message(2, batch, ...(width === null ? [] : [message(1, int(1, width))]))
  return [bytes(1, name), message(2, message(1, int(1, type === 'float32' ? FLOAT : INT64), shape))]
}
