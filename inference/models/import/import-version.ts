import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describeError, fatal } from '../../../infra/runtime/errors.ts'
import { digestOfFile } from '../../../schemas/file-digest.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { modelUses } from '../model-uses.ts'
import type { ProbationLimits } from '../probation/probation.ts'
import { answerGolden } from '../probation/probe.ts'
import { draftManifest, type ImportOptions, type ManifestDraft, metadataOf } from './draft-manifest.ts'
import { type ExampleRow, jsonRows, readExampleRows, rowsOfPipeline } from './example-rows.ts'
import { MLMODEL, onnxFileOfMlflow } from './mlflow.ts'
import { type OnnxFacts, readOnnxFacts } from './onnx-facts.ts'

export type SourceKind = 'version' | 'onnx' | 'mlflow'

export interface VersionImport extends ImportOptions {
  readonly source: string
  readonly kind: Exclude<SourceKind, 'version'>
  readonly pipeline: CompiledPipeline
  /** Rows that the model must go on answering; null = those of the file's metadata, or of the pipeline's golden events. */
  readonly golden: string | null
  /** What becomes of a model whose file names no version. */
  nextVersion(model: string): string
  readonly limits: ProbationLimits
}

const MODEL_FILE = 'model.onnx'
/** Of golden rows whose outputs are not known yet: whatever the model answers is within it. */
const ANY_OUTPUT = 3e38

/** What there is at a path. Throws `invalid_import` (crash) when it is nothing that can be imported. */
export function kindOfSource(source: string): SourceKind {
  const stats = statSync(source, { throwIfNoEntry: false })
  if (stats?.isFile() === true) return 'onnx'
  if (existsSync(path.join(source, 'manifest.json'))) return 'version'
  if (existsSync(path.join(source, MLMODEL))) return 'mlflow'
  throw fatal('invalid_import', `${source} is no ONNX file, no folder with a manifest.json and none with an ${MLMODEL}`)
}

/**
 * Makes a version folder of a model that comes without a manifest: its files, and a manifest.json from what the file tells,
 * what the pipeline tells and the options. Outputs of golden rows that nobody gives are what the model answers now, in a
 * process that may die of it. Rejects with `invalid_import`, `invalid_rows` and `model_refused` (crash).
 */
export async function importVersion(asked: VersionImport, folder: string): Promise<void> {
  const { source, kind, pipeline, limits } = asked
  const file = kind === 'mlflow' ? onnxFileOfMlflow(source) : source
  const model = readFileSync(file)
  const { facts, external } = understood(file, () => ({
    facts: readOnnxFacts(model),
    external: modelUses(model).external,
  }))
  const draft = draftManifest(facts, pipeline, asked)
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, MODEL_FILE), model)
  const files = []
  for (const name of external) files.push({ path: name, sha256: await copied(path.dirname(file), folder, name) })
  const rows = rowsFor(asked, facts, draft)
  const isMissing = rows.some(({ features }) => features.includes(null))
  const whole = {
    ...draft,
    input: { ...draft.input, missing: draft.input.missing ?? (isMissing ? 'nan' : 'refuse') },
    version: draft.version ?? asked.nextVersion(draft.name),
    file: MODEL_FILE,
    sha256: createHash('sha256').update(model).digest('hex'),
    ...(files.length === 0 ? {} : { files }),
  }
  const golden = await answered(folder, whole, rows, limits)
  write(folder, { ...whole, golden })
}

function understood<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw fatal('invalid_import', `${file} is no ONNX file: ${describeError(error).message}`, error)
  }
}

async function copied(from: string, folder: string, name: string): Promise<string> {
  const place = path.resolve(folder, name)
  const beside = path.resolve(from, name)
  if (!place.startsWith(folder + path.sep) || !existsSync(beside)) {
    throw fatal('invalid_import', `the model keeps weights in ${name}, which is not beside it`)
  }
  cpSync(beside, place)
  return (await digestOfFile(place)).sha256
}

function rowsFor({ golden, pipeline }: VersionImport, facts: OnnxFacts, draft: ManifestDraft): readonly ExampleRow[] {
  const names = draft.input.features.map(({ name }) => name)
  if (golden !== null) return readExampleRows(golden, names)
  const said = metadataOf(facts, 'golden')
  const rows = said === undefined ? rowsOfPipeline(pipeline) : jsonRows('millrace.golden', said, names)
  if (rows.length > 0) return rows
  throw fatal(
    'invalid_rows',
    'rows are needed that the model must go on answering: give a CSV or JSON file as --golden',
  )
}

type Golden = readonly { readonly features: ExampleRow['features']; readonly outputs: readonly number[] }[]

async function answered(
  folder: string,
  manifest: Pick<ManifestDraft, 'output'>,
  rows: readonly ExampleRow[],
  limits: ProbationLimits,
): Promise<Golden> {
  const none = new Array<number>(manifest.output.width).fill(0)
  const known = rows.map(({ features, outputs }) => ({ features, outputs: outputs ?? none }))
  if (rows.every(({ outputs }) => outputs !== null)) return known
  write(folder, { ...manifest, golden: known, tolerance: ANY_OUTPUT })
  const { refusal, answers } = await answerGolden(folder, limits)
  if (refusal !== null) throw fatal('model_refused', `${refusal.step}: ${refusal.message} (${refusal.code})`)
  return rows.map(({ features, outputs }, at) => ({ features, outputs: outputs ?? answers[at] ?? none }))
}

function write(folder: string, manifest: Readonly<Record<string, unknown>>): void {
  writeFileSync(path.join(folder, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`)
}
