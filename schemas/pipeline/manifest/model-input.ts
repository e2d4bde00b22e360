import type { FeatureSet } from '../compiled.ts'
import type { Cursor } from '../cursor.ts'
import { readNames } from './names.ts'

/** One tensor that a model takes. */
interface InputTensor {
  readonly name: string
  readonly type: 'float32' | 'int64'
  /** Positions in the row of the features that it holds, in its order. */
  readonly columns: readonly number[]
}

export interface ModelInput {
  /** At least one; every feature is in exactly one of them. */
  readonly tensors: readonly InputTensor[]
  readonly features: FeatureSet['features']
  /** Of each feature the values that the model takes, inclusive, as float32 and possibly infinite; null = any. */
  readonly ranges: readonly (readonly [low: number, high: number] | null)[]
  /** Whether NaN is a value to the model, or must never reach it. In an int64 tensor it never may. */
  readonly missing: 'nan' | 'refuse'
  /** Rows that a run takes, no more and no fewer; null = any number. */
  readonly batch: number | null
}

const OPTIONAL = ['tensor', 'tensors', 'batch'] as const

/** `{ tensor, features, missing }`, or with `tensors: [{ name, type, features }]` in the place of `tensor`. */
export function readModelInput(place: Cursor): ModelInput | null {
  const input = place.object<'features' | 'missing' | (typeof OPTIONAL)[number]>(['features', 'missing'], OPTIONAL)
  if (!input) return null
  const members = readFeatures(input.features)
  const missing = input.missing.oneOf(['nan', 'refuse'])
  const batch = input.batch.number((n) => Number.isInteger(n) && n > 0, 'a whole number above 0')
  const features = members?.map(({ feature }) => feature) ?? null
  const tensors = input.tensors.given ? readTensors(input.tensors, features) : readTensor(input.tensor, features)
  if (input.tensors.given && input.tensor.given) input.tensor.problem('tensors stands for it: give one of them')
  if (members === null || features === null) return null
  // what has been reported may be anything: golden rows are still to be read against the features
  return {
    tensors: tensors ?? [],
    features,
    ranges: members.map(({ range }) => range),
    missing: missing ?? 'refuse',
    batch,
  }
}

type Feature = FeatureSet['features'][number]

function readTensor(tensor: Cursor, features: readonly Feature[] | null): readonly InputTensor[] | null {
  if (!tensor.given) return tensor.problem('is missing')
  const name = tensor.string()
  return name === null ? null : [{ name, type: 'float32', columns: (features ?? []).map((_, column) => column) }]
}

function readTensors(list: Cursor, features: readonly Feature[] | null): readonly InputTensor[] | null {
  const members = list.list()
  if (members === null) return null
  const tensors: InputTensor[] = []
  const places = new Map(features?.map(({ name }, column) => [name, column]))
  const left = new Set(places.keys())
  for (const member of members) {
    const tensor = member.object(['name', 'type', 'features'])
    const name = tensor?.name.string() ?? null
    const type = tensor?.type.oneOf(['float32', 'int64']) ?? null
    const names = tensor?.features.list() ?? null
    if (!tensor || name === null || type === null || names === null) continue
    if (tensors.some((other) => other.name === name)) tensor.name.problem(`the input ${name} is there twice`)
    if (names.length === 0) tensor.features.problem('an input needs at least one feature')
    const columns: number[] = []
    for (const one of names) {
      const feature = one.string()
      if (feature === null || features === null) continue
      const column = places.get(feature)
      if (column === undefined) one.problem(`there is no feature ${feature} in input.features`)
      else if (!left.delete(feature)) one.problem(`the feature ${feature} is in an input already`)
      else columns.push(column)
    }
    tensors.push({ name, type, columns })
  }
  if (left.size > 0) list.problem(`no input holds ${[...left].join(', ')}`)
  return tensors.length === members.length && left.size === 0 ? tensors : null
}

interface FeatureEntry {
  readonly feature: Feature
  readonly range: ModelInput['ranges'][number]
}

const FEATURE_OPTIONS = ['values', 'min', 'max'] as const

function readFeatures(list: Cursor): readonly FeatureEntry[] | null {
  const entries: FeatureEntry[] = []
  const seen = new Set<string>()
  const members = list.list()
  if (members === null) return null
  if (members.length === 0) return list.problem('a model needs at least one feature')
  for (const member of members) {
    const feature = member.object<'name' | 'type' | (typeof FEATURE_OPTIONS)[number]>(['name', 'type'], FEATURE_OPTIONS)
    const name = feature?.name.string() ?? null
    const type = feature?.type.oneOf(['float32', 'flag', 'category']) ?? null
    if (!feature || name === null || type === null) continue
    if (seen.has(name)) feature.name.problem(`the feature ${name} is there twice`)
    seen.add(name)
    const range = readRange(feature.min, feature.max)
    if (type === 'category') {
      if (!feature.values.given) feature.values.problem('a category needs its values')
      entries.push({ feature: { name, type, values: readNames(feature.values) ?? [] }, range })
    } else {
      if (feature.values.given) feature.values.problem('only a category has values')
      entries.push({ feature: { name, type }, range })
    }
  }
  return entries.length === members.length ? entries : null
}

/** As float32, which is what features are: 0.1 is within a maximum of 0.1. */
function readRange(min: Cursor, max: Cursor): readonly [number, number] | null {
  if (!min.given && !max.given) return null
  const low = min.given ? min.number() : Number.NEGATIVE_INFINITY
  const high = max.given ? max.number() : Number.POSITIVE_INFINITY
  if (low === null || high === null) return null
  if (low > high) return max.problem(`it is below the minimum, ${low}`)
  return [Math.fround(low), Math.fround(high)]
}
