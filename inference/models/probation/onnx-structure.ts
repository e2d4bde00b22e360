import {
  bytesOf,
  numberOf,
  pushFloats,
  pushInts,
  readFields,
  textOf,
  WireError,
  type WireValue,
} from './wire-reader.ts'

/*
 * What decides whether a model file may be loaded at all, read from its protocol buffers
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3) and nothing else of it.
 *
 *   ModelProto      ir_version 1, graph 7, opset_import 8, functions 25
 *   GraphProto      node 1, initializer 5, input 11, sparse_initializer 15
 *   NodeProto       input 1, output 2, op_type 4, attribute 5, domain 7
 *   AttributeProto  name 1, i 3, s 4, t 5, g 6, floats 7, ints 8, strings 9, tensors 10, graphs 11, sparse 22, 23
 *   TensorProto     dims 1, data_type 2, float_data 4, name 8, raw_data 9, external_data 13, data_location 14
 */

export interface OnnxStructure {
  readonly irVersion: number
  readonly graphs: number
  readonly opsets: readonly string[]
  /** Names of the functions that it defines itself. */
  readonly functions: readonly string[]
  /** Of all graphs, also those inside nodes. */
  readonly nodes: readonly OnnxNode[]
  /** Where tensors lie that are not in the file. */
  readonly external: readonly ExternalData[]
  /** Width of each input of the main graph that is [N, width], by name. */
  readonly widths: ReadonlyMap<string, number>
}

export interface OnnxNode {
  readonly domain: string
  readonly operator: string
  readonly inputs: readonly string[]
  /** Whether it has a graph within it. */
  readonly hasGraph: boolean
  readonly attributes: ReadonlyMap<string, OnnxAttribute>
}

export interface OnnxAttribute {
  readonly ints: readonly number[]
  readonly floats: readonly number[]
  readonly strings: readonly string[]
  /** One value. */
  readonly text: string
  /** A tensor's values, when it is float32 or uint8; null = there is none, or one of another type. */
  readonly tensor: readonly number[] | null
}

export interface ExternalData {
  readonly tensor: string
  readonly location: string
  readonly offset: number
  /** Bytes; null = all behind the offset. */
  readonly length: number | null
}

const DEEPEST_GRAPH = 16
const FLOAT = 1
const UINT8 = 2
const EXTERNAL = 1

/** Throws WireError when the bytes are no protocol buffers, or graphs lie in one another more than 16 deep. */
export function readStructure(model: Buffer): OnnxStructure {
  let irVersion = 0
  let graphs = 0
  const opsets: string[] = []
  const functions: string[] = []
  const found: Found = { nodes: [], external: [], widths: new Map() }
  readFields(model, (field, value) => {
    if (field === 1) irVersion = numberOf(value)
    if (field === 7) {
      graphs++
      readGraph(bytesOf(value), found, 0)
    }
    if (field === 8) opsets.push(textField(bytesOf(value), 1))
    if (field === 25) functions.push(textField(bytesOf(value), 1))
  })
  return { irVersion, graphs, opsets, functions, ...found }
}

/** One node. Throws as `readStructure` does. */
export function readNodeOf(message: Buffer): OnnxNode {
  return readNode(message, { nodes: [], external: [], widths: new Map() }, 0)
}

interface Found {
  readonly nodes: OnnxNode[]
  readonly external: ExternalData[]
  readonly widths: Map<string, number>
}

function readGraph(graph: Buffer, found: Found, depth: number): void {
  if (depth > DEEPEST_GRAPH) throw new WireError(`graphs within graphs, more than ${DEEPEST_GRAPH} deep`)
  readFields(graph, (field, value) => {
    if (field === 1) found.nodes.push(readNode(bytesOf(value), found, depth))
    if (field === 5) readTensor(bytesOf(value), found)
    if (field === 11 && depth === 0) readInput(bytesOf(value), found.widths)
    if (field === 15) readSparse(bytesOf(value), found)
  })
}

function readNode(node: Buffer, found: Found, depth: number): OnnxNode {
  let domain = ''
  let operator = ''
  let hasGraph = false
  const inputs: string[] = []
  const attributes = new Map<string, OnnxAttribute>()
  readFields(node, (field, value) => {
    if (field === 1) inputs.push(textOf(value))
    if (field === 4) operator = textOf(value)
    if (field === 7) domain = textOf(value)
    if (field !== 5) return
    const { name, graphs, ...attribute } = readAttribute(bytesOf(value), found)
    attributes.set(name, attribute)
    for (const graph of graphs) {
      hasGraph = true
      readGraph(graph, found, depth + 1)
    }
  })
  return { domain, operator, inputs, hasGraph, attributes }
}

function readAttribute(
  message: Buffer,
  found: Found,
): OnnxAttribute & { readonly name: string; readonly graphs: readonly Buffer[] } {
  let name = ''
  let text = ''
  let tensor: readonly number[] | null = null
  const ints: number[] = []
  const floats: number[] = []
  const strings: string[] = []
  const graphs: Buffer[] = []
  readFields(message, (field, value) => {
    if (field === 1) name = textOf(value)
    if (field === 4) text = textOf(value)
    if (field === 5) tensor = readTensor(bytesOf(value), found)
    if (field === 6 || field === 11) graphs.push(bytesOf(value))
    if (field === 7) pushFloats(floats, value)
    if (field === 8) pushInts(ints, value)
    if (field === 9) strings.push(textOf(value))
    if (field === 10) readTensor(bytesOf(value), found)
    if (field === 22 || field === 23) readSparse(bytesOf(value), found)
  })
  return { name, text, tensor, ints, floats, strings, graphs }
}

/** SparseTensorProto: values 1, indices 2, both tensors. */
function readSparse(message: Buffer, found: Found): void {
  readFields(message, (field, value) => {
    if (field === 1 || field === 2) readTensor(bytesOf(value), found)
  })
}

function readTensor(message: Buffer, found: Found): readonly number[] | null {
  let type = 0
  let name = ''
  let isExternal = false
  let raw: Buffer | null = null
  const floats: number[] = []
  const places = new Map<string, string>()
  readFields(message, (field, value) => {
    if (field === 2) type = numberOf(value)
    if (field === 4) pushFloats(floats, value)
    if (field === 8) name = textOf(value)
    if (field === 9) raw = bytesOf(value)
    if (field === 13) readEntry(bytesOf(value), places)
    if (field === 14) isExternal = numberOf(value) === EXTERNAL
  })
  if (isExternal || places.size > 0) found.external.push(externalData(name, places))
  return tensorValues(type, raw, floats)
}

function tensorValues(type: number, raw: Buffer | null, floats: readonly number[]): readonly number[] | null {
  if (type === UINT8) return raw === null ? null : Array.from(raw)
  if (type !== FLOAT) return null
  if (raw === null) return floats
  const values: number[] = []
  pushFloats(values, raw)
  return values
}

function readEntry(message: Buffer, places: Map<string, string>): void {
  places.set(textField(message, 1), textField(message, 2))
}

function externalData(tensor: string, places: ReadonlyMap<string, string>): ExternalData {
  const length = places.get('length')
  return {
    tensor,
    location: places.get('location') ?? '',
    offset: Number(places.get('offset') ?? 0),
    length: length === undefined ? null : Number(length),
  }
}

/** ValueInfoProto: name 1, type 2; TypeProto: tensor 1; its shape 2; dimension 1; its size 1. */
function readInput(message: Buffer, widths: Map<string, number>): void {
  const sizes: number[] = []
  for (const type of messagesIn(message, 2)) {
    for (const tensor of messagesIn(type, 1)) {
      for (const shape of messagesIn(tensor, 2)) {
        for (const dimension of messagesIn(shape, 1)) sizes.push(numberField(dimension, 1))
      }
    }
  }
  const [, width = 0] = sizes
  if (sizes.length === 2 && width > 0) widths.set(textField(message, 1), width)
}

function messagesIn(message: Buffer, wanted: number): readonly Buffer[] {
  const found: Buffer[] = []
  readFields(message, (field, value) => {
    if (field === wanted) found.push(bytesOf(value))
  })
  return found
}

/** The last one counts, as protocol buffers have it. */
function last<T>(message: Buffer, wanted: number, none: T, read: (value: WireValue) => T): T {
  let found = none
  readFields(message, (field, value) => {
    if (field === wanted) found = read(value)
  })
  return found
}

const textField = (message: Buffer, field: number): string => last(message, field, '', textOf)
const numberField = (message: Buffer, field: number): number => last(message, field, 0, numberOf)
