import { statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError, fatal, retryable } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelProfile } from '../../schemas/control/models.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { chooseExecutor } from '../execution/choose-executor.ts'
import { type Executor, ModelRunError, type PreparedModel } from '../execution/executor.ts'
import type { Provider } from '../execution/run-rows.ts'
import { isHarmless } from './is-harmless.ts'
import { type MeasuredCost, measureCost } from './measure-cost.ts'
import { WireError } from './probation/wire-reader.ts'
import type { ServeSettings, ServeVersionDeps, VersionFacts } from './served-as.ts'

/** A model where it runs. */
export interface PlacedModel {
  readonly executor: Executor
  readonly model: PreparedModel
  readonly profile: ModelProfile
  /** Whether what a run costs was told apart from what a row costs. */
  readonly isShapeKnown: boolean
}

/** To load a larger model would keep this process from everything else for too long. */
const LARGEST_INLINE_BYTES = 32 * 2 ** 20

/**
 * Loads a version on a provider: in this process where its runs are short enough and no row can hang or end it, else in
 * a child, where the CPU beside a GPU is, too. What nobody has measured is measured first.
 */
export async function placeModel(
  { manifest, profiles, purpose }: VersionFacts,
  provider: Provider,
  { choice, providers, executors, settings, logger }: ServeVersionDeps,
): Promise<PlacedModel> {
  const known = profiles.find((profile) => profile.provider === provider) ?? null
  const mode = purpose === 'shadow' ? 'process' : settings.executor
  const hostOf = (profile: ModelProfile | null, isProven: boolean): Executor['kind'] =>
    chooseExecutor({ mode, provider, isProven, longestRunMs: profile && longestRunMs(profile, settings) })
  const couldStay = mode === 'auto' && provider === 'cpu' && !providers.includes('cuda')
  const isQuick = known === null || hostOf(known, true) === 'inline'
  const isProven = couldStay && isQuick && (await mayStay(manifest, profiles.length > 0))
  let executor =
    (isProven && known === null) || hostOf(known, isProven) === 'inline'
      ? executors.inline(provider)
      : executors.child(purpose, provider, manifest.version)
  let model = await executor.prepare(manifest)
  const { profile, isShapeKnown } =
    known === null ? await measured(model, provider, logger) : { profile: known, isShapeKnown: true }
  executors.learn(manifest, profile)
  if (executor.kind === 'inline' && hostOf(profile, isProven) === 'process') {
    await model.retire()
    executor = executors.child(purpose, provider, manifest.version)
    model = await executor.prepare(manifest)
  }
  const { name, version, sha256 } = manifest
  const { budgetMs } = choice
  logger.info({ model: name, version, sha256, executor: executor.kind, purpose, budgetMs, ...profile }, 'model loaded')
  return { executor, model, profile, isShapeKnown }
}

/** Rejects, with the model retired, with `invalid_model` (crash) when it refuses its golden rows, else `model_unavailable`. */
async function measured(model: PreparedModel, provider: Provider, logger: Logger): Promise<MeasuredCost> {
  try {
    return await measureCost(model, provider)
  } catch (error) {
    try {
      await model.retire()
    } catch (also) {
      logger.warn(describeError(also), 'a model that could not be measured was not retired')
    }
    if (!(error instanceof ModelRunError)) throw error
    const message = `${model.manifest.folder}: it fails on its golden rows: ${error.message}`
    throw error.fault === 'rows'
      ? fatal('invalid_model', message, error)
      : retryable('model_unavailable', message, error)
  }
}

/**
 * Whether it can be in this process: soon loaded, and no row can end or hang it. What cannot be read is refused by its executor. Only
 * a version that is registered `wasOnProbation`: one in the pipeline's folder is looked at here.
 */
async function mayStay({ folder, file, files }: ModelManifest, wasOnProbation: boolean): Promise<boolean> {
  const bytes = [file, ...files.map(({ path }) => path)].reduce(
    (sum, path) => sum + (statSync(join(folder, path), { throwIfNoEntry: false })?.size ?? Number.POSITIVE_INFINITY),
    0,
  )
  if (bytes > LARGEST_INLINE_BYTES) return false
  try {
    // not the bytes that are loaded: whoever loads them, often a child, verifies what it has read; this is 1 to 6 % of a load
    return isHarmless(await readFile(join(folder, file)), wasOnProbation ? 'known' : 'unknown')
  } catch (error) {
    if (error instanceof WireError) return false
    throw error
  }
}

/** Of a batch of the size from which a larger one gains little, 18a/b rows (batch-policy.ts). */
function longestRunMs({ fixedUs, rowUs }: ModelProfile, { maxRows }: ServeSettings): number {
  const rows = Math.max(1, Math.min((18 * fixedUs) / Math.max(rowUs, 1e-3), maxRows))
  return (fixedUs + rowUs * rows) / 1_000
}
