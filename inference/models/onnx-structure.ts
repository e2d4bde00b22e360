/*
 * As much of an ONNX file (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) as has to be known before it is loaded: a
 * walk over its messages, wherever operators and weights may be. A field is `(number << 3) | wire type`, then 0 a varint,
 * 1 eight bytes, 2 a length and bytes, 5 four bytes.
 */

export interface OnnxStructure {
  /** Domains of the operators that it uses; '' is ONNX's own. */
  readonly domains: ReadonlySet<string>
  /** Files that it keeps weights in, as it names them. */
  readonly external: ReadonlySet<string>
}

type MessageKind = 'model' | 'graph' | 'node' | 'attribute' | 'tensor' | 'sparse' | 'function' | 'training'

/** Messages within messages, by field number. */
const CHILDREN: Readonly<Record<MessageKind, Readonly<Record<number, MessageKind>>>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: {},
}
const NODE_DOMAIN = 7
const TENSOR_EXTERNAL = 13
/** What protocol buffers' own readers refuse, too. */
const DEEPEST = 100

/** Throws RangeError when the bytes are no protocol buffer. */
export function readOnnxStructure(bytes: Buffer): OnnxStructure {
  const domains = new Set<string>()
  const external = new Set<string>()

  function walk(kind: MessageKind, from: number, to: number, depth: number): void {
    if (depth > DEEPEST) throw new RangeError('it is nested too deeply')
    let domain = ''
    for (const { number, start, end } of fields(bytes, from, to)) {
      const child = CHILDREN[kind][number]
      if (child !== undefined) walk(child, start, end, depth + 1)
      else if (kind === 'node' && number === NODE_DOMAIN) domain = bytes.toString('utf8', start, end)
      else if (kind === 'tensor' && number === TENSOR_EXTERNAL) location(start, end)
    }
    if (kind === 'node') domains.add(domain)
  }

  function location(from: number, to: number): void {
    const [key, value] = [1, 2].map((wanted) => {
      let text = ''
      for (const { number, start, end } of fields(bytes, from, to)) {
        if (number === wanted) text = bytes.toString('utf8', start, end)
      }
      return text
    })
    if (key === 'location' && value !== undefined) external.add(value)
  }

  walk('model', 0, bytes.length, 0)
  return { domains, external }
}

interface Field {
  readonly number: number
  readonly start: number
  readonly end: number
}

/** The fields that hold bytes. */
function* fields(bytes: Buffer, from: number, to: number): Generator<Field> {
  let at = from

  function varint(): number {
    let value = 0
    for (let scale = 1; at < to; scale *= 0x80) {
      const byte = bytes[at++] as number
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    throw new RangeError('it ends within a number')
  }

  while (at < to) {
    const tag = varint()
    const [number, type] = [Math.floor(tag / 8), tag % 8]
    if (type === 0) varint()
    else if (type === 1) at += 8
    else if (type === 5) at += 4
    else if (type === 2) {
      const length = varint()
      const start = at
      at += length
      if (at <= to) yield { number, start, end: at }
    } else throw new RangeError(`it has a field of type ${type}`)
    if (at > to) throw new RangeError('a field is longer than what holds it')
  }
}
