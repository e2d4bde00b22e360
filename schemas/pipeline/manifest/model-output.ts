import type { Cursor } from '../cursor.ts'
import { readNames } from './names.ts'

/** One tensor of a model's answer. */
export interface OutputTensor {
  readonly name: string
  /** Its outputs per row. */
  readonly width: number
  /** Of its first output in the row. */
  readonly offset: number
}

export type OutputRange = readonly [low: number, high: number]

/** A model's answer to a row: the outputs of its tensors, one tensor behind the other. */
export interface ModelOutput {
  /** At least one. */
  readonly tensors: readonly OutputTensor[]
  /** Outputs per row, of all tensors. */
  readonly width: number
  /** Bounds of each output, inclusive; null = any finite number. */
  readonly ranges: readonly (OutputRange | null)[]
  /** Names of the outputs, one each; null = they have none. */
  readonly classes: readonly string[] | null
}

/** The tensor that holds output `index` of the row. */
export function tensorOfOutput({ tensors }: ModelOutput, index: number): OutputTensor {
  const found = tensors.find(({ offset, width }) => index >= offset && index < offset + width)
  if (found === undefined) throw new RangeError(`there is no output ${index}`)
  return found
}

/** The tensor that a pipeline reads. Throws when the model has none of that name, which `explainMisfit` tells first. */
export function outputTensorOf({ tensors }: ModelOutput, name: string): OutputTensor {
  const found = tensors.find((tensor) => tensor.name === name)
  if (found === undefined) throw new RangeError(`there is no output ${name}`)
  return found
}

const KEYS = ['tensor', 'width', 'tensors', 'range', 'classes'] as const

/** `{ tensor, width }`, or `{ tensors: [{ name, width, range }] }`: a tensor's own range comes before that of all. */
export function readModelOutput(place: Cursor): ModelOutput | null {
  const output = place.object<(typeof KEYS)[number]>([], KEYS)
  if (!output) return null
  const range = readRange(output.range)
  const classes = output.classes.given ? readNames(output.classes) : null
  const tensors = output.tensors.given ? readTensors(output) : readTensor(output)
  if (tensors === null) return null
  const width = tensors.reduce((sum, tensor) => sum + tensor.width, 0)
  const ranges = tensors.flatMap((tensor) => new Array<OutputRange | null>(tensor.width).fill(tensor.range ?? range))
  if (classes !== null && classes.length !== width) {
    output.classes.problem(`there are ${classes.length} classes for ${width} outputs`)
  }
  return {
    tensors: tensors.map(({ name, width: own, offset }) => ({ name, width: own, offset })),
    width,
    ranges,
    classes,
  }
}

type Members = Readonly<Record<(typeof KEYS)[number], Cursor>>
type RangedTensor = OutputTensor & { readonly range: OutputRange | null }

function readTensor({ tensor, width }: Members): readonly RangedTensor[] | null {
  for (const member of [tensor, width]) if (!member.given) member.problem('is missing')
  const name = tensor.string()
  const outputs = readWidth(width)
  return name === null || outputs === null ? null : [{ name, width: outputs, offset: 0, range: null }]
}

function readTensors({ tensor, width, tensors }: Members): readonly RangedTensor[] | null {
  for (const other of [tensor, width]) if (other.given) other.problem('tensors stands for it: give one of them')
  const members = tensors.list()
  if (members === null) return null
  if (members.length === 0) return tensors.problem('a model needs at least one output')
  const read: RangedTensor[] = []
  let offset = 0
  for (const member of members) {
    const one = member.object<'name' | 'width' | 'range'>(['name', 'width'], ['range'])
    const name = one?.name.string() ?? null
    const outputs = one ? readWidth(one.width) : null
    if (!one || name === null || outputs === null) continue
    if (read.some((other) => other.name === name)) one.name.problem(`the output ${name} is there twice`)
    read.push({ name, width: outputs, offset, range: readRange(one.range) })
    offset += outputs
  }
  return read.length === members.length ? read : null
}

function readWidth(width: Cursor): number | null {
  return width.number((n) => Number.isInteger(n) && n > 0, 'a whole number above 0')
}

function readRange(range: Cursor): OutputRange | null {
  const bounds = range.list()
  if (bounds === null) return null
  const [low, high] = bounds.map((bound) => bound.number())
  if (bounds.length === 2 && typeof low === 'number' && typeof high === 'number' && low <= high) return [low, high]
  return range.problem('a range is two numbers, the lower first')
}
