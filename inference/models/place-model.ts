import type { ModelProfile } from '../../schemas/control/models.ts'
import { chooseExecutor } from '../execution/choose-executor.ts'
import type { Executor, PreparedModel } from '../execution/executor.ts'
import type { Provider } from '../execution/run-rows.ts'
import { measureCost } from './measure-cost.ts'
import type { ServeSettings, ServeVersionDeps, VersionFacts } from './served-as.ts'

/** A model where it runs. */
export interface PlacedModel {
  readonly executor: Executor
  readonly model: PreparedModel
  readonly profile: ModelProfile
}

/**
 * Loads a version on a provider: in this process where its runs are short enough, else in a child. What nobody has
 * measured is measured first, in this process: a version in the pipeline's own folder is trusted as the pipeline's code is.
 */
export async function placeModel(
  { manifest, profiles, purpose }: VersionFacts,
  provider: Provider,
  { choice, executors, settings, logger }: ServeVersionDeps,
): Promise<PlacedModel> {
  const known = profiles.find((profile) => profile.provider === provider) ?? null
  const mode = purpose === 'shadow' ? 'process' : settings.executor
  const hostOf = (profile: ModelProfile | null): Executor['kind'] =>
    chooseExecutor({ mode, provider, isProven: true, longestRunMs: profile && longestRunMs(profile, settings) })
  const isUnknown = mode === 'auto' && known === null && provider === 'cpu'
  let executor =
    isUnknown || hostOf(known) === 'inline' ? executors.inline() : executors.child(purpose, provider, manifest.version)
  let model = await executor.prepare(manifest)
  const profile =
    known ??
    (await measureCost(model, provider).catch(async (error: unknown) => {
      await model.retire()
      throw error
    }))
  executors.learn(manifest, profile)
  if (executor.kind === 'inline' && hostOf(profile) === 'process') {
    await model.retire()
    executor = executors.child(purpose, provider, manifest.version)
    model = await executor.prepare(manifest)
  }
  const { name, version, sha256 } = manifest
  const { budgetMs } = choice
  logger.info({ model: name, version, sha256, executor: executor.kind, purpose, budgetMs, ...profile }, 'model loaded')
  return { executor, model, profile }
}

/** Of a batch of the size from which a larger one gains little, 18a/b rows (batch-policy.ts). */
function longestRunMs({ fixedUs, rowUs }: ModelProfile, { maxRows }: ServeSettings): number {
  const rows = Math.max(1, Math.min((18 * fixedUs) / Math.max(rowUs, 1e-3), maxRows))
  return (fixedUs + rowUs * rows) / 1_000
}
