/** A model version is a folder with the model file and its manifest.json, which says what the model takes and gives. */
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { digestOfFile, readDigested } from '../file-digest.ts'
import type { FeatureSet } from './compiled.ts'
import { type Cursor, cursor } from './cursor.ts'
import { featureSetOf } from './feature-set.ts'
import { type GoldenRow, readGoldenRows } from './manifest/golden-rows.ts'
import { type ModelInput, readModelInput } from './manifest/model-input.ts'
import { type ModelOutput, readModelOutput } from './manifest/model-output.ts'
import { PipelineError, type Problem } from './problems.ts'
import { readJson } from './read-json.ts'

/** A file beside the model file that belongs to it: weights kept apart, as large models have them. */
interface ModelFile {
  /** Relative to the folder, with `/`. */
  readonly path: string
  /** SHA-256, hex. */
  readonly sha256: string
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
  /** External data of the model file; with any of them it is loaded from its path. */
  readonly files: readonly ModelFile[]
  readonly task: 'binary' | 'multiclass' | 'regression' | 'multi-output'
  /** Operator domains that the model may use. */
  readonly domains: readonly string[]
  readonly input: ModelInput
  readonly output: ModelOutput
  readonly featureSet: FeatureSet
  /** Event times that the model was trained on, as ISO dates, the end excluded; null = not said. */
  readonly training: { readonly from: string; readonly to: string } | null
  /** Rows with the outputs that the model gave where it was trained. */
  readonly golden: readonly GoldenRow[]
  /** Most that an output of a golden row may be off, absolute. */
  readonly tolerance: number
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

/**
 * The bytes of the model file. Rejects with PipelineError when it, or a file beside it, is missing, is not the one that the
 * manifest describes, or is a link that leads out of the folder. A piece at a time: the thread may be one that serves.
 */
export async function verifyModelFile(manifest: ModelManifest): Promise<Buffer> {
  const { folder, files } = manifest
  const file = path.join(folder, manifest.file)
  const model = await reading(file, 'the model file', () => readDigested(file))
  requireDigest(file, 'the model file', model.sha256, manifest.sha256)
  // external data is found beside the model file, wherever a link has it
  if (files.length > 0) requireInside(folder, file)
  for (const { path: name, sha256 } of files) {
    const beside = path.join(folder, name)
    const found = await reading(beside, 'the file', () => digestOfFile(beside))
    requireDigest(beside, 'the file', found.sha256, sha256)
    requireInside(folder, beside)
  }
  return model.bytes
}

async function reading<T>(file: string, what: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    const message = `${what} cannot be read: ${error instanceof Error ? error.message : String(error)}`
    throw new PipelineError([{ file, path: '', message }])
  }
}

function requireDigest(file: string, what: string, actual: string, expected: string): void {
  if (actual === expected) return
  const message = `${what} is not the one its manifest describes: its sha256 is ${actual}, the manifest says ${expected}`
  throw new PipelineError([{ file, path: '', message }])
}

function requireInside(folder: string, file: string): void {
  const place = path.relative(realpathSync(folder), realpathSync(file))
  if (place !== '..' && !place.startsWith(`..${path.sep}`) && !path.isAbsolute(place)) return
  throw new PipelineError([{ file, path: '', message: 'it is a link that leads out of the folder of its version' }])
}

const REQUIRED = ['name', 'version', 'file', 'sha256', 'task', 'input', 'output', 'golden'] as const
const OPTIONAL = ['training', 'files', 'domains', 'tolerance'] as const
const TASKS = ['binary', 'multiclass', 'regression', 'multi-output'] as const
/** ONNX's own operators, under both of their names, and those of classical machine learning. */
const DOMAINS = ['', 'ai.onnx', 'ai.onnx.ml']
const GOLDEN_TOLERANCE = 1e-5
const SHA256 = /^[0-9a-f]{64}$/
const SHA256_EXPECTED = 'a SHA-256 in hex'

/** In lower-case hex. */
export function isSha256(value: unknown): value is string {
  return typeof value === 'string' && SHA256.test(value)
}

function readManifest(folder: string, root: Cursor): ModelManifest | null {
  const top = root.object<(typeof REQUIRED)[number] | (typeof OPTIONAL)[number]>(REQUIRED, OPTIONAL)
  if (!top) return null
  const name = top.name.string(NAME, NAME_EXPECTED)
  const version = top.version.string(NAME, NAME_EXPECTED)
  const file = top.file.string(/^[^/\\]+$/, 'a file name in the same folder')
  const sha256 = top.sha256.string(SHA256, SHA256_EXPECTED)
  const task = top.task.oneOf(TASKS)
  const files = readFiles(top.files, file)
  const domains = top.domains.given
    ? (top.domains.list() ?? []).flatMap((one) => one.string(/^/, 'a text') ?? [])
    : DOMAINS
  const input = readModelInput(top.input)
  const output = readModelOutput(top.output)
  const training = readTraining(top.training)
  const golden = readGoldenRows(top.golden, input?.features.length ?? null, output?.width ?? null)
  const tolerance = top.tolerance.given
    ? top.tolerance.number((n) => Number.isFinite(n) && n >= 0, 'a number, 0 or above')
    : GOLDEN_TOLERANCE
  if (name === null || version === null || file === null || sha256 === null || task === null) return null
  if (input === null || output === null || tolerance === null) return null
  return {
    folder,
    name,
    version,
    file,
    sha256,
    files,
    task,
    domains,
    input,
    output,
    featureSet: featureSetOf(input.features),
    training,
    golden,
    tolerance,
  }
}

export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
export const NAME_EXPECTED = 'a name of letters, digits, dots, dashes and underscores'

function readFiles(list: Cursor, model: string | null): readonly ModelFile[] {
  const files: ModelFile[] = []
  for (const member of list.list() ?? []) {
    const file = member.object(['path', 'sha256'])
    const name = file?.path.string(/^[^\\:]+$/, INSIDE) ?? null
    const sha256 = file?.sha256.string(SHA256, SHA256_EXPECTED) ?? null
    if (!file || name === null || sha256 === null) continue
    const known = [model, 'manifest.json', ...files.map((one) => one.path)]
    if (name.split('/').some((part) => part === '' || part === '.' || part === '..')) {
      file.path.problem(`${JSON.stringify(name)} is not ${INSIDE}`)
    } else if (known.includes(name)) file.path.problem(`${name} is there twice`)
    else files.push({ path: name, sha256 })
  }
  return files
}

const INSIDE = 'a path inside the folder of the version, relative to it'

function readTraining(training: Cursor): ModelManifest['training'] {
  const span = training.given ? Object.fromEntries(training.entries() ?? []) : {}
  const [from, to] = [span['from'], span['to']].map((end) => end?.string(/^\d{4}-\d{2}-\d{2}/, 'an ISO date') ?? null)
  return typeof from === 'string' && typeof to === 'string' ? { from, to } : null
}
