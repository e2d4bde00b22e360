import { bytesOf, readFields, textOf } from './probation/wire-reader.ts'

/** What an ONNX file uses that is not in it. */
export interface ModelUses {
  /** Domains of its operators; '' is ONNX's own. */
  readonly domains: ReadonlySet<string>
  /** Files that it keeps weights in, as it names them. */
  readonly external: ReadonlySet<string>
}

type MessageKind = 'model' | 'graph' | 'node' | 'attribute' | 'tensor' | 'sparse' | 'function' | 'training'

/** What is looked at of each message of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, by field number. */
const FIELDS: Readonly<Record<MessageKind, Readonly<Record<number, MessageKind | 'domain' | 'external'>>>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute', 7: 'domain' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: { 13: 'external' },
}
const NUMBERS: ReadonlyMap<string, readonly number[]> = new Map(
  Object.entries(FIELDS).map(([kind, fields]) => [kind, Object.keys(fields).map(Number)]),
)
/** What protocol buffers' own readers refuse, too. */
const DEEPEST = 100

/** A walk over its messages that skips all values: a few ms for each MB of trees. Throws when it is no protocol buffer. */
export function modelUses(model: Buffer): ModelUses {
  const domains = new Set<string>()
  const external = new Set<string>()

  function walk(kind: MessageKind, message: Buffer, depth: number): void {
    if (depth > DEEPEST) throw new RangeError('it is nested too deeply')
    const fields = FIELDS[kind]
    let domain = ''
    readFields(
      message,
      (field, value) => {
        const what = fields[field] as (typeof fields)[number]
        if (what === 'domain') domain = textOf(value)
        else if (what === 'external') entry(bytesOf(value))
        else walk(what, bytesOf(value), depth + 1)
      },
      NUMBERS.get(kind),
    )
    if (kind === 'node') domains.add(domain)
  }

  function entry(message: Buffer): void {
    const [key, text] = [1, 2].map((wanted) => {
      let found = ''
      readFields(message, (field, value) => {
        if (field === wanted) found = textOf(value)
      })
      return found
    })
    if (key === 'location' && text !== undefined) external.add(text)
  }

  walk('model', model, 0)
  return { domains, external }
}
