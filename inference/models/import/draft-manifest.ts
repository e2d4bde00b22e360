import { fatal } from '../../../infra/runtime/errors.ts'
import type { CompiledPipeline, FeatureSet } from '../../../schemas/pipeline/compiled.ts'
import type { OnnxFacts, TensorFacts } from './onnx-facts.ts'

export interface ImportOptions {
  /** Null = what the file says. */
  readonly version: string | null
  /** Null = what the file says, else by the number of outputs. */
  readonly task: string | null
  /** Null = what the file says, else `nan` when a golden row lacks a feature. */
  readonly missing: 'nan' | 'refuse' | null
}

/** Members of manifest.json without file, digests and golden rows. */
export type ManifestDraft = Readonly<Record<string, unknown>> & {
  readonly name: string
  /** Null = nobody says. */
  readonly version: string | null
  readonly input: {
    readonly features: FeatureSet['features']
    /** Null = nobody says. */
    readonly missing: unknown
  }
  readonly output: { readonly tensor: string; readonly width: number }
}

/** Keys of metadata_props that are read, each the JSON of the manifest's member of that name. */
const METADATA = 'millrace.'

const TASKS = new Map([
  [1, 'regression'],
  [2, 'binary'],
])
/** What converters call the probabilities of classes. */
const PROBABILITIES = /prob/i

/**
 * The manifest of a model whose file tells its inputs and outputs, for a pipeline that tells the features. Throws
 * `invalid_import` (crash) when that does not say enough.
 */
export function draftManifest(facts: OnnxFacts, pipeline: CompiledPipeline, options: ImportOptions): ManifestDraft {
  const said = (key: string): unknown => metadataOf(facts, key)
  const name = said('name') ?? pipeline.model.name
  if (typeof name !== 'string') throw fatal('invalid_import', `${METADATA}name in the model is no text`)
  const features = (said('features') ?? pipeline.featureSet.features) as FeatureSet['features']
  const tensor = outputOf(facts, pipeline.model.output.tensor)
  const width = widthOf(tensor)
  const task = options.task ?? said('task') ?? TASKS.get(width) ?? 'multiclass'
  const isProbability = task !== 'regression' && PROBABILITIES.test(tensor.name)
  const range = said('range') ?? (isProbability ? [0, 1] : undefined)
  const [batch = null] = facts.inputs[0]?.shape ?? []
  const optional = { tolerance: said('tolerance'), training: said('training'), domains: said('domains') }
  return {
    name,
    version: options.version ?? text(said('version')),
    task,
    input: {
      ...inputOf(facts, features),
      features,
      missing: options.missing ?? said('missing') ?? null,
      ...(batch === null || batch <= 0 ? {} : { batch }),
    },
    output: { tensor: tensor.name, width, ...given({ range, classes: said('classes') }) },
    ...given(optional),
  }
}

/** What the file's metadata say under `millrace.<key>`: JSON, or a bare text; undefined when nothing. */
export function metadataOf({ metadata }: OnnxFacts, key: string): unknown {
  const value = metadata.get(`${METADATA}${key}`)
  if (value === undefined) return undefined
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

function inputOf({ inputs }: OnnxFacts, features: FeatureSet['features']): Readonly<Record<string, unknown>> {
  const [first] = inputs
  if (first !== undefined && inputs.length === 1 && first.type === 'float32') return { tensor: first.name }
  const tensors = inputs.map(({ name, type, shape }) => {
    const isFeature = features.some((feature) => feature.name === name)
    if (!isFeature || (shape[1] ?? 1) !== 1 || (type !== 'float32' && type !== 'int64')) {
      const message = 'one float32 input of all features is needed, or one for each feature, named like it'
      throw fatal('invalid_import', `input ${name} of the model: ${message}; else write a manifest.json`)
    }
    return { name, type, features: [name] }
  })
  return { tensors }
}

function outputOf({ outputs }: OnnxFacts, wanted: string): TensorFacts {
  const found = outputs.find(({ name }) => name === wanted)
  const names = outputs.map(({ name }) => name).join(', ')
  if (found === undefined) throw fatal('invalid_import', `the pipeline reads output ${wanted}, the model has ${names}`)
  if (found.type !== null) return found
  throw fatal('invalid_import', `output ${wanted} of the model is no tensor of numbers: export it without ZipMap`)
}

function widthOf({ name, shape }: TensorFacts): number {
  const width = shape.length <= 1 ? 1 : shape[1]
  if (shape.length <= 2 && typeof width === 'number' && width > 0) return width
  throw fatal(
    'invalid_import',
    `output ${name} of the model does not say how many numbers a row has: write a manifest.json`,
  )
}

function given(members: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
}

/** A version may look like a number. */
function text(value: unknown): string | null {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null
}
