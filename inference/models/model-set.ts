import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, fatal } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import { explainMisfit } from '../../schemas/pipeline/check-models.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { listModelVersions } from '../../schemas/pipeline/manifest.ts'
import { formatProblem, type Problem } from '../../schemas/pipeline/problems.ts'
import { type LoadedModel, loadModel } from './load-model.ts'

/** The loaded versions of one model: of those that take the same feature set, the highest. */
export interface ModelSet {
  find(featureSet: string): LoadedModel | null
  /** In order of version. */
  all(): readonly LoadedModel[]
  /**
   * Loads versions that have appeared in the directory since, at most once a second. One that cannot be loaded is logged
   * and left alone until its files change. Call it while no run is under way: a version may be released for a higher one.
   */
  rescan(): Promise<void>
  release(): Promise<void>
}

export interface ModelSetDeps {
  readonly pipeline: CompiledPipeline
  readonly clock: Clock
  readonly logger: Logger
}

const RESCAN_INTERVAL_MS = 1_000
const byVersion = new Intl.Collator('en', { numeric: true })

/** Loads every version folder of the directory. Rejects with `invalid_model` or `no_model` (crash). */
export async function loadModels(deps: ModelSetDeps): Promise<ModelSet> {
  const { pipeline, clock, logger } = deps
  const choice = pipeline.model
  const models = new Map<string, LoadedModel>()
  /** Fingerprint of each version folder when it was last tried. */
  const tried = new Map<string, string>()
  let scannedAt = clock.monotonic()

  async function add(folder: string): Promise<void> {
    tried.set(folder, fingerprint(folder))
    const model = await loadModel(folder)
    // another feature set is what versions are for; another name or output is not
    const problems = misfits(pipeline, model).filter(({ path }) => path !== 'input.features')
    if (problems.length > 0) {
      await model.release()
      throw fatal('invalid_model', problems.map(formatProblem).join('\n'))
    }
    const { digest } = model.manifest.featureSet
    const rival = models.get(digest)
    if (rival !== undefined && byVersion.compare(rival.manifest.version, model.manifest.version) >= 0) {
      await model.release()
      return
    }
    models.set(digest, model)
    await rival?.release()
    const { name, version, sha256 } = model.manifest
    logger.info({ model: name, version, sha256, featureSet: digest }, 'model loaded')
  }

  async function release(): Promise<void> {
    const loaded = [...models.values()]
    models.clear()
    for (const model of loaded) await model.release()
  }

  try {
    for (const folder of listModelVersions(choice.directory)) await add(folder)
    if (models.size === 0) throw fatal('no_model', `${choice.directory}: there is no version of model ${choice.name}`)
  } catch (error) {
    await release()
    throw error
  }

  return {
    find: (featureSet) => models.get(featureSet) ?? null,
    all: () => [...models.values()].sort((a, b) => byVersion.compare(a.manifest.version, b.manifest.version)),
    async rescan() {
      if (clock.monotonic() - scannedAt < RESCAN_INTERVAL_MS) return
      scannedAt = clock.monotonic()
      for (const folder of listModelVersions(choice.directory)) {
        if (tried.get(folder) === fingerprint(folder)) continue
        try {
          await add(folder)
        } catch (error) {
          // the versions that are loaded go on; this one is tried again when its files change
          logger.error({ ...describeError(error), folder }, 'new model version refused')
        }
      }
    },
    release,
  }
}

/** Refuses to go on when no version takes what the pipeline computes; says how the highest one differs. */
export function requireModelFor(pipeline: CompiledPipeline, models: ModelSet): LoadedModel {
  const fitting = models.find(pipeline.featureSet.digest)
  if (fitting !== null) return fitting
  throw fatal(
    'model_mismatch',
    misfits(pipeline, models.all().at(-1) as LoadedModel)
      .map(formatProblem)
      .join('\n'),
  )
}

function misfits(pipeline: CompiledPipeline, { manifest }: LoadedModel): readonly Problem[] {
  return explainMisfit(pipeline, manifest, join(manifest.folder, 'manifest.json'))
}

/** Changes when a file of the folder does. */
function fingerprint(folder: string): string {
  return readdirSync(folder)
    .map((name) => {
      const { size, mtimeMs } = statSync(join(folder, name))
      return `${name}:${size}:${mtimeMs}`
    })
    .sort()
    .join('\n')
}
