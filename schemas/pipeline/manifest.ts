/** A model version is a folder with the model file and its manifest.json, which says what the model takes and gives. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { FeatureSet } from './compiled.ts'
import { type Cursor, cursor } from './cursor.ts'
import { featureSetOf } from './feature-set.ts'
import { PipelineError, type Problem } from './problems.ts'
import { readJson } from './read-json.ts'

export interface GoldenRow {
  /** [features]; null = missing (NaN). */
  readonly features: readonly (number | null)[]
  /** [width] */
  readonly outputs: readonly number[]
}

export interface ModelManifest {
  /** Folder of this version, absolute. */
  readonly folder: string
  readonly name: string
  readonly version: string
  /** Model file, relative to the folder. */
  readonly file: string
  /** SHA-256 of the model file, hex. */
  readonly sha256: string
  readonly task: 'binary' | 'multiclass' | 'regression'
  readonly input: {
    readonly tensor: string
    readonly features: FeatureSet['features']
    /** Whether NaN is a value to the model, or must never reach it. */
    readonly missing: 'nan' | 'refuse'
  }
  readonly output: {
    readonly tensor: string
    /** Outputs per row. */
    readonly width: number
    /** Bounds of every output, inclusive; null = any finite number. */
    readonly range: readonly [low: number, high: number] | null
    /** Names of the outputs, one each; null = they have none. */
    readonly classes: readonly string[] | null
  }
  readonly featureSet: FeatureSet
  /** Event times that the model was trained on, as ISO dates, the end excluded; null = not said. */
  readonly training: { readonly from: string; readonly to: string } | null
  /** Rows with the outputs that the model gave where it was trained. */
  readonly golden: readonly GoldenRow[]
}

/** Folders of versions (with a manifest, not hidden), in order. Empty when the directory is not there. */
export function listModelVersions(directory: string): readonly string[] {
  if (!existsSync(directory)) return []
  const order = new Intl.Collator('en', { numeric: true })
  return readdirSync(directory)
    .filter((name) => !name.startsWith('.') && existsSync(path.join(directory, name, 'manifest.json')))
    .sort(order.compare)
    .map((name) => path.join(directory, name))
}

/** Reads `<folder>/manifest.json`. Throws PipelineError with everything that is wrong in it. */
export function readModelManifest(folder: string): ModelManifest {
  const file = path.join(folder, 'manifest.json')
  const problems: Problem[] = []
  const json = readJson(file)
  const manifest = readManifest(
    path.resolve(folder),
    cursor(json, '', (where, message) => problems.push({ file, path: where, message })),
  )
  if (manifest === null || problems.length > 0) throw new PipelineError(problems)
  return manifest
}

/** The bytes of the model file. Throws PipelineError when it is missing or not the file that the manifest describes. */
export function verifyModelFile(manifest: ModelManifest): Buffer {
  const file = path.join(manifest.folder, manifest.file)
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (error) {
    const message = `the model file cannot be read: ${error instanceof Error ? error.message : String(error)}`
    throw new PipelineError([{ file, path: '', message }])
  }
  const actual = createHash('sha256').update(bytes).digest('hex')
  if (actual === manifest.sha256) return bytes
  const message = `the model file is not the one its manifest describes: its sha256 is ${actual}, the manifest says ${manifest.sha256}`
  throw new PipelineError([{ file, path: '', message }])
}

function readManifest(folder: string, root: Cursor): ModelManifest | null {
  const keys = ['name', 'version', 'file', 'sha256', 'task', 'input', 'output', 'golden'] as const
  const top = root.object<(typeof keys)[number] | 'training'>(keys, ['training'])
  const input = top?.input.object(['tensor', 'features', 'missing'])
  const output = top?.output.object<'tensor' | 'width' | 'range' | 'classes'>(['tensor', 'width'], ['range', 'classes'])
  if (!top || !input || !output) return null
  const name = top.name.string(NAME, NAME_EXPECTED)
  const version = top.version.string(NAME, NAME_EXPECTED)
  const file = top.file.string(/^[^/\\]+$/, 'a file name in the same folder')
  const sha256 = top.sha256.string(/^[0-9a-f]{64}$/, 'a SHA-256 in hex')
  const task = top.task.oneOf(['binary', 'multiclass', 'regression'])
  const features = readFeatures(input.features)
  const tensor = input.tensor.string()
  const missing = input.missing.oneOf(['nan', 'refuse'])
  const outputTensor = output.tensor.string()
  const width = output.width.number((n) => Number.isInteger(n) && n > 0, 'a whole number above 0')
  const range = readRange(output.range)
  const classes = output.classes.given ? readNames(output.classes) : null
  if (classes !== null && width !== null && classes.length !== width) {
    output.classes.problem(`there are ${classes.length} classes for ${width} outputs`)
  }
  const training = readTraining(top.training)
  const golden = readGoldenRows(top.golden, features?.length ?? null, width)
  if (name === null || version === null || file === null || sha256 === null || task === null) return null
  if (features === null || tensor === null || missing === null || outputTensor === null || width === null) return null
  return {
    folder,
    name,
    version,
    file,
    sha256,
    task,
    input: { tensor, features, missing },
    output: { tensor: outputTensor, width, range, classes },
    featureSet: featureSetOf(features),
    training,
    golden,
  }
}

export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
export const NAME_EXPECTED = 'a name of letters, digits, dots, dashes and underscores'

function readFeatures(list: Cursor): FeatureSet['features'] | null {
  const features: FeatureSet['features'][number][] = []
  const seen = new Set<string>()
  const members = list.list()
  if (members === null) return null
  if (members.length === 0) return list.problem('a model needs at least one feature')
  for (const member of members) {
    const feature = member.object<'name' | 'type' | 'values'>(['name', 'type'], ['values'])
    const name = feature?.name.string() ?? null
    const type = feature?.type.oneOf(['float32', 'flag', 'category']) ?? null
    if (!feature || name === null || type === null) continue
    if (seen.has(name)) feature.name.problem(`the feature ${name} is there twice`)
    seen.add(name)
    if (type === 'category') {
      if (!feature.values.given) feature.values.problem('a category needs its values')
      features.push({ name, type, values: readNames(feature.values) ?? [] })
    } else {
      if (feature.values.given) feature.values.problem('only a category has values')
      features.push({ name, type })
    }
  }
  return features.length === members.length ? features : null
}

function readTraining(training: Cursor): ModelManifest['training'] {
  const span = training.given ? Object.fromEntries(training.entries() ?? []) : {}
  const [from, to] = [span['from'], span['to']].map((end) => end?.string(/^\d{4}-\d{2}-\d{2}/, 'an ISO date') ?? null)
  return typeof from === 'string' && typeof to === 'string' ? { from, to } : null
}

function readNames(list: Cursor): readonly string[] | null {
  const names: string[] = []
  for (const member of list.list() ?? []) {
    const name = member.string(/^/, 'a text')
    if (name === null) continue
    if (names.includes(name)) member.problem(`${JSON.stringify(name)} is there twice`)
    names.push(name)
  }
  return names
}

function readRange(range: Cursor): readonly [number, number] | null {
  const bounds = range.list()
  if (bounds === null) return null
  const [low, high] = bounds.map((bound) => bound.number())
  if (bounds.length === 2 && typeof low === 'number' && typeof high === 'number' && low <= high) return [low, high]
  return range.problem('a range is two numbers, the lower first')
}

function readGoldenRows(list: Cursor, featureCount: number | null, width: number | null): readonly GoldenRow[] {
  const members = list.list() ?? []
  if (list.given && members.length === 0) list.problem('at least one golden row is needed, to verify the model with')
  return members.map((member) => {
    const row = member.object(['features', 'outputs'])
    return {
      features: readRow(row?.features, featureCount, (cell) => (cell.value === null ? null : cell.number())),
      outputs: readRow(row?.outputs, width, (cell) => cell.number() ?? Number.NaN),
    }
  })
}

function readRow<T>(list: Cursor | undefined, length: number | null, read: (cell: Cursor) => T): readonly T[] {
  const cells = list?.list() ?? []
  if (list?.given && length !== null && cells.length !== length) {
    list.problem(`${cells.length} numbers where ${length} are expected`)
  }
  return cells.map(read)
}
