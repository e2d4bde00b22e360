import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { readConfig } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { ModelEntry } from '../../schemas/control/models.ts'
import { digestOfFile } from '../../schemas/file-digest.ts'
import { explainMisfit } from '../../schemas/pipeline/check-models.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { listModelVersions, type ModelManifest, readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { PipelineError } from '../../schemas/pipeline/problems.ts'
import type { ImportOptions } from '../models/import/draft-manifest.ts'
import { importVersion, kindOfSource, type SourceKind } from '../models/import/import-version.ts'
import { type KnownVersion, knownVersions, nameOf } from '../models/model-entries.ts'
import type { ProbationLimits, ProbationReport } from '../models/probation/probation.ts'
import { probe } from '../models/probation/probe.ts'
import { readLimits } from '../models/probation/read-limits.ts'
import { requireFreeName } from '../models/require-free-name.ts'
import { MODEL_STORE } from '../models/store/config.ts'
import { filesOf } from '../models/store/fetch-version.ts'
import type { ModelStore } from '../models/store/model-store.ts'
import { openModelStore } from '../models/store/open-store.ts'

export interface PushOptions extends ImportOptions {
  /** A version folder, an ONNX file or an MLflow model directory. */
  readonly source: string
  /** Pipeline folder. */
  readonly pipeline: string
  /** Null = by what there is. */
  readonly from: SourceKind | null
  /** File of rows that an imported model must go on answering. */
  readonly golden: string | null
  readonly allowed: ProbationLimits['allowed']
  readonly actor: string
  readonly reason: string
}

export interface Pushed {
  /** `<model>/<version>` */
  readonly name: string
  readonly entry: ModelEntry
  /** Null = it was there already, with the same content. */
  readonly report: ProbationReport | null
  readonly store: string
}

const byVersion = new Intl.Collator('en', { numeric: true })

/**
 * Imports a version, or takes a version folder as it is, tries it out, puts its files into the model store and registers it in
 * the control log. The same content again changes nothing but what the store has lost. Rejects with `model_refused`, `version_taken`, `version_retired`
 * (crash) and with PipelineError when the version is none for this pipeline.
 */
export async function push(control: ControlLog, options: PushOptions, env: NodeJS.ProcessEnv): Promise<Pushed> {
  const pipeline = await loadPipeline(options.pipeline)
  const limits = readLimits(env, options.allowed)
  const store = await openModelStore(readConfig(MODEL_STORE, env))
  const scratch = mkdtempSync(path.join(tmpdir(), 'millrace-push-'))
  try {
    const { folder, isNumbered } = await versionFolder(
      control,
      options,
      { pipeline, limits },
      path.join(scratch, 'version'),
    )
    const manifest = readModelManifest(folder)
    const file = path.join(folder, 'manifest.json')
    const problems = explainMisfit(pipeline, manifest, file)
    if (problems.length > 0) throw new PipelineError(problems)
    if (options.version !== null && manifest.version !== options.version) {
      throw fatal('version_mismatch', `${file} says version ${manifest.version}, --version ${options.version}`)
    }
    return await pushFolder(control, options, { pipeline, limits, manifest, isNumbered }, store)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
    await store.close()
  }
}

interface Target {
  readonly pipeline: CompiledPipeline
  readonly limits: ProbationLimits
}

interface Candidate extends Target {
  readonly manifest: ModelManifest
  /** Nobody named its version. */
  readonly isNumbered: boolean
}

async function pushFolder(
  control: ControlLog,
  options: PushOptions,
  { pipeline, limits, manifest, isNumbered }: Candidate,
  store: ModelStore,
): Promise<Pushed> {
  const file = path.join(manifest.folder, 'manifest.json')
  const name = nameOf({ model: manifest.name, version: manifest.version })
  const digest = (await digestOfFile(file)).sha256
  const there = sameVersion(control, manifest, digest) ?? (isNumbered ? sameModel(control, manifest) : null)
  if (there !== null) {
    // what the store has lost since is there again
    await storeFiles(store, manifest)
    if (there.entry.manifest === digest) await storeFile(store, file, digest)
    return { name: nameOf(there.entry), entry: there.entry, report: null, store: store.place }
  }
  await requireFreeName(control, pipeline, manifest, digest)

  const report = await probe(manifest.folder, limits)
  if (report.refusal !== null) {
    const { step, code, message } = report.refusal
    throw fatal('model_refused', `${name} is refused (${step}: ${code}): ${message}`)
  }
  await storeFiles(store, manifest)
  await storeFile(store, file, digest)
  const entry: ModelEntry = {
    model: manifest.name,
    version: manifest.version,
    manifest: digest,
    digest: manifest.sha256,
    featureSet: manifest.featureSet.digest,
    profiles: report.profiles,
    state: 'active',
  }
  const { actor, reason } = options
  // there is a record already where it is one that cannot be understood
  const basedOn = control.latest('model', name)?.revision ?? null
  await control.append({ kind: 'model', name, basedOn, value: entry, actor, reason })
  return { name, entry, report, store: store.place }
}

/** Those beside its manifest. */
async function storeFiles(store: ModelStore, manifest: ModelManifest): Promise<void> {
  for (const { path: name, sha256 } of filesOf(manifest)) {
    await storeFile(store, path.join(manifest.folder, name), sha256)
  }
}

async function storeFile(store: ModelStore, file: string, digest: string): Promise<void> {
  if ((await store.put(file)) !== digest) throw fatal('model_changed', `${file} is not what it was when the push began`)
}

/** The version that is there with this content; null when the name is free. Throws when it has other content. */
function sameVersion(control: ControlLog, manifest: ModelManifest, digest: string): KnownVersion | null {
  const { name: model, version } = manifest
  const there = knownVersions(control, model).find(({ entry }) => entry.version === version)
  if (there === undefined) return null
  const name = nameOf(there.entry)
  if (there.entry.manifest !== digest) {
    throw fatal('version_taken', `${name} is there with other content (${there.entry.digest}): choose another version`)
  }
  if (there.entry.state === 'retired') throw fatal('version_retired', `${name} was retired: choose another version`)
  return there
}

/** A version that is the same model for the same features: a second number for it would say nothing. */
function sameModel(control: ControlLog, { name, sha256, featureSet }: ModelManifest): KnownVersion | null {
  const isSame = ({ entry }: KnownVersion): boolean =>
    entry.state === 'active' && entry.digest === sha256 && entry.featureSet === featureSet.digest
  return knownVersions(control, name).find(isSame) ?? null
}

async function versionFolder(
  control: ControlLog,
  options: PushOptions,
  { pipeline, limits }: Target,
  scratch: string,
): Promise<{ readonly folder: string; readonly isNumbered: boolean }> {
  const kind = options.from ?? kindOfSource(options.source)
  if (kind === 'version') return { folder: path.resolve(options.source), isNumbered: false }
  let isNumbered = false
  const nextVersion = (model: string): string => {
    isNumbered = true
    return versionBehind(control, pipeline, model)
  }
  await importVersion({ ...options, kind, pipeline, nextVersion, limits }, scratch)
  return { folder: scratch, isNumbered }
}

/** The whole number above all versions that there are, registered or beside the pipeline. */
function versionBehind(control: ControlLog, pipeline: CompiledPipeline, model: string): string {
  const registered = knownVersions(control, model).map(({ entry }) => entry.version)
  const beside = listModelVersions(pipeline.model.directory).map((folder) => path.basename(folder))
  const [highest = '0'] = [...registered, ...beside].sort((a, b) => byVersion.compare(b, a))
  return String((Number.parseInt(highest, 10) || 0) + 1)
}
