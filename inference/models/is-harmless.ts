import { readNodeOf } from './probation/onnx-structure.ts'
import { treeProblem } from './probation/tree-problem.ts'
import { bytesOf, numberOf, readFields, textOf } from './probation/wire-reader.ts'

/**
 * Operators that end whatever they are given, in a time that follows from shapes: rows can make them fail, not hang or trap. Those of
 * trees only when no branch leads back: they follow it for ever.
 */
const HARMLESS: ReadonlySet<string> = new Set(
  `Abs Add And ArgMax ArgMin Cast Ceil Clip Concat Constant Equal Exp Flatten Floor Gather Gemm Greater GreaterOrEqual
   Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max Min Mul Neg Not Or ReduceMax ReduceMin ReduceSum
   Relu Reshape Round Shape Sigmoid Sign Slice Softmax Softplus Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where Xor
   ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LinearClassifier LinearRegressor Normalizer OneHotEncoder
   SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor`.split(/\s+/),
)
const TREES: ReadonlySet<string> = new Set([...HARMLESS].filter((operator) => operator.startsWith('TreeEnsemble')))
/** Those that divide: processors trap when a whole number is divided by 0. */
const HARMLESS_FLOATS: ReadonlySet<string> = new Set(['Div', 'ReduceMean'])
/** What they answer are floats, whatever they take. */
const TO_FLOATS: ReadonlySet<string> = new Set(
  `Exp LinearRegressor Log LogSoftmax Normalizer SVMRegressor Scaler Sigmoid Softmax Softplus Sqrt Tanh
   TreeEnsembleRegressor`.split(/\s+/),
)
/** What they answer has the type of their first input. */
const AS_FIRST: ReadonlySet<string> = new Set(
  `Abs Add Ceil Clip Concat Div Flatten Floor Gather Gemm Identity Imputer LeakyRelu MatMul Max Min Mul Neg ReduceMax ReduceMean
   ReduceMin ReduceSum Relu Reshape Round Slice Squeeze Sub Sum Transpose Unsqueeze`.split(/\s+/),
)
const DOMAINS: ReadonlySet<string> = new Set(['', 'ai.onnx', 'ai.onnx.ml'])
/** float32, float16, float64 of TensorProto.DataType. */
const FLOATS: ReadonlySet<number> = new Set([1, 10, 11])

interface Node {
  readonly message: Buffer
  readonly operator: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly isPlain: boolean
  /** Type that its attributes name: of a Cast, or of a Constant. */
  readonly type: number
}

/**
 * Whether no row can make a model hang, or end the process that it runs in: it has no graphs or functions within it, and none
 * but operators of which that is known. Trees are followed unless they are `known` to be whole, as after a probation: that takes
 * longer than all the rest. Throws when the bytes are no protocol buffers.
 */
export function isHarmless(model: Buffer, trees: 'known' | 'unknown'): boolean {
  let harmless = true
  readFields(model, (field, value) => {
    if (field === 7) harmless &&= isHarmlessGraph(bytesOf(value), trees === 'unknown')
    if (field === 25) harmless = false
  })
  return harmless
}

function isHarmlessGraph(graph: Buffer, followsTrees: boolean): boolean {
  const floats = new Set<string>()
  const nodes: Node[] = []
  readFields(graph, (field, value) => {
    if (field === 1) nodes.push(readNode(bytesOf(value)))
    if (field === 5) addFloat(floats, textIn(bytesOf(value), 8), numberIn(bytesOf(value), 2))
    // ValueInfoProto: name 1, type 2; TypeProto: tensor 1; its element type 1
    if (field === 11) {
      const [tensor] = messagesIn(bytesOf(value), 2).flatMap((type) => messagesIn(type, 1))
      if (tensor !== undefined) addFloat(floats, textIn(bytesOf(value), 1), numberIn(tensor, 1))
    }
  })
  // nodes come in an order in which each is behind what it reads
  return nodes.every((node) => {
    const [first = ''] = node.inputs
    const takesFloats = floats.has(first)
    const answersFloats =
      TO_FLOATS.has(node.operator) || FLOATS.has(node.type) || (AS_FIRST.has(node.operator) && takesFloats)
    if (answersFloats) for (const name of node.outputs) floats.add(name)
    if (!node.isPlain) return false
    if (followsTrees && TREES.has(node.operator)) return treeProblem(readNodeOf(node.message), null) === null
    return HARMLESS.has(node.operator) || (HARMLESS_FLOATS.has(node.operator) && takesFloats)
  })
}

/** NodeProto: input 1, output 2, op_type 4, attribute 5, domain 7. */
function readNode(message: Buffer): Node {
  const inputs: string[] = []
  const outputs: string[] = []
  let operator = ''
  let isPlain = true
  let type = 0
  readFields(message, (field, value) => {
    if (field === 1) inputs.push(textOf(value))
    if (field === 2) outputs.push(textOf(value))
    if (field === 4) operator = textOf(value)
    if (field === 7) isPlain &&= DOMAINS.has(textOf(value))
    if (field === 5) {
      const attribute = readAttribute(bytesOf(value))
      if (attribute.hasGraph) isPlain = false
      if (attribute.name === 'to') type = attribute.whole
      if (attribute.name === 'value' && attribute.tensor !== null) type = numberIn(attribute.tensor, 2)
    }
  })
  const isTyped = operator === 'Cast' || operator === 'Constant'
  return { message, operator, inputs, outputs, isPlain, type: isTyped ? type : 0 }
}

/** AttributeProto: name 1, i 3, t 5, g 6, graphs 11. Read once: that of a forest has most of the file. */
function readAttribute(attribute: Buffer) {
  let name = ''
  let whole = 0
  let tensor: Buffer | null = null
  let hasGraph = false
  readFields(
    attribute,
    (field, value) => {
      if (field === 1) name = textOf(value)
      else if (field === 3) whole = numberOf(value)
      else if (field === 5) tensor ??= bytesOf(value)
      else hasGraph = true
    },
    [1, 3, 5, 6, 11],
  )
  return { name, whole, tensor, hasGraph }
}

function addFloat(floats: Set<string>, name: string, type: number): void {
  if (FLOATS.has(type)) floats.add(name)
}

function messagesIn(message: Buffer, wanted: number): readonly Buffer[] {
  const found: Buffer[] = []
  readFields(message, (_, value) => found.push(bytesOf(value)), [wanted])
  return found
}

function textIn(message: Buffer, wanted: number): string {
  return messagesIn(message, wanted).at(-1)?.toString() ?? ''
}

function numberIn(message: Buffer, wanted: number): number {
  let found = 0
  readFields(
    message,
    (_, value) => {
      found = numberOf(value)
    },
    [wanted],
  )
  return found
}
