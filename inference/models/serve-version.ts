import { performance } from 'node:perf_hooks'
import type { ModelProfile } from '../../schemas/control/models.ts'
import { createBatchPolicy, type ProviderPolicy } from '../batching/batch-policy.ts'
import { type CostFit, createCostFit } from '../batching/cost-fit.ts'
import { createMicroBatcher } from '../batching/create-micro-batcher.ts'
import { policyByProvider } from '../batching/policy-by-provider.ts'
import { secondCacheBytes } from '../batching/second-cache.ts'
import type { ExecutorPurpose } from '../execution/executors.ts'
import { isolateRows } from '../execution/isolate-rows.ts'
import { bucketsBelow, inParts, paddedModel } from '../execution/providers/padded.ts'
import { createProviderLoad } from '../execution/providers/provider-load.ts'
import { routeByProvider } from '../execution/providers/route-by-provider.ts'
import type { Provider, RunRows } from '../execution/run-rows.ts'
import { packedBytes } from './pack-rows.ts'
import { type PlacedModel, placeModel } from './place-model.ts'
import { worthCaching } from './prediction-cache/break-even.ts'
import { cachedRows } from './prediction-cache/cached-rows.ts'
import type { ServeSettings, ServeVersionDeps, VersionFacts } from './served-as.ts'
import { versionBytes } from './version-bytes.ts'
import type { OpenedVersion } from './version-cache.ts'

const SECOND_CACHE_BYTES = secondCacheBytes()

/**
 * Loads a version where it may run, and puts together what its rows go through: micro-batches, answers that are known,
 * the choice of a provider, the isolation of rows that it fails on, and the executor. Rejects with `invalid_model` (crash)
 * when it is refused.
 */
export async function serveVersion(facts: VersionFacts, deps: ServeVersionDeps): Promise<OpenedVersion> {
  const { manifest } = facts
  const { choice, settings, clock, observer } = deps
  const width = manifest.input.features.length
  const outputWidth = manifest.output.width
  const placed = await placeAll(facts, deps)
  // all of them are in this process, or none: `auto` puts a GPU and the CPU beside it in children
  const [first] = placed as [PlacedModel, ...PlacedModel[]]
  const isInline = first.executor.kind === 'inline'
  const slots = Math.max(...placed.map(({ executor }) => executor.depth))
  const fits = new Map(
    placed.map(({ executor, profile, isShapeKnown }) => [executor.provider, createCostFit(profile, isShapeKnown)]),
  )
  const policyOf = (provider: Provider): ProviderPolicy =>
    createBatchPolicy({
      fit: fits.get(provider) as CostFit,
      budgetMs: choice.budgetMs,
      slots,
      inline: isInline,
      width,
      outputWidth,
      packedBytes: packedBytes(manifest.input),
      cacheBytes: SECOND_CACHE_BYTES,
      bounds: settings,
      maxLingerMs: settings.maxLingerMs,
      activeMs: () => performance.eventLoopUtilization().active,
    })
  const { run, expects } = routeOf(runsOf(placed, facts.purpose, deps, width, outputWidth), fits, width, deps)
  const batcher = createMicroBatcher({
    width,
    outputWidth,
    run,
    slots,
    inline: isInline,
    policy:
      expects === null
        ? policyOf(first.executor.provider)
        : policyByProvider({ cpu: policyOf('cpu'), cuda: policyOf('cuda') }, expects),
    clock,
    observer: { ran: (batch) => observer.released(manifest, batch, facts.purpose) },
  })
  const takes = versionBytes(manifest, placed)
  const caches = placed.filter(({ profile }) => hasCache(profile, settings, width)).length
  return {
    version: { manifest, width, batcher },
    bytes: () => takes() + caches * settings.predictionCacheBytes,
    staysIdle: facts.purpose !== 'shadow',
    async close() {
      deps.executors.forget(manifest)
      await retireAll(placed)
    },
  }
}

/** The model on each provider. */
async function placeAll(facts: VersionFacts, deps: ServeVersionDeps): Promise<readonly PlacedModel[]> {
  const placed: PlacedModel[] = []
  try {
    for (const provider of deps.providers) placed.push(await placeModel(facts, provider, deps))
  } catch (error) {
    await retireAll(placed)
    throw error
  }
  return placed
}

/** Each of them, also when another cannot be. */
async function retireAll(placed: readonly PlacedModel[]): Promise<void> {
  const retired = await Promise.allSettled(placed.map(({ model }) => model.retire()))
  for (const each of retired) if (each.status === 'rejected') throw each.reason
}

function runsOf(
  placed: readonly PlacedModel[],
  purpose: ExecutorPurpose,
  { executors, settings, observer }: ServeVersionDeps,
  width: number,
  outputWidth: number,
): ReadonlyMap<Provider, RunRows> {
  return new Map(
    placed.map(({ executor, model, profile: { fixedUs, rowUs } }) => {
      const { provider } = executor
      const quarantine = executor.kind === 'inline' ? null : executors.quarantine(purpose, provider)
      const expectedMs = (rows: number): number => (fixedUs + rowUs * rows) / 1_000
      const buckets = provider === 'cuda' ? bucketsBelow(settings.maxRows) : []
      const isolated = isolateRows({ model: paddedModel(model, buckets), provider, quarantine, expectedMs })
      const run = inParts(isolated, width, buckets.at(-1) ?? Number.POSITIVE_INFINITY)
      const { predictionCacheBytes: maxBytes } = settings
      if (!hasCache({ rowUs }, settings, width)) return [provider, run] as const
      const looked = (rows: number, hits: number, repeats: number): void =>
        observer.looked(model.manifest, rows, hits, repeats, purpose)
      return [provider, cachedRows({ run, width, outputWidth, maxBytes, observer: { looked } })] as const
    }),
  )
}

/** Where each batch goes, by what runs cost now; `expects` is null where there is one place only. */
function routeOf(
  runs: ReadonlyMap<Provider, RunRows>,
  fits: ReadonlyMap<Provider, CostFit>,
  width: number,
  { executors: { gpu }, clock, logger }: ServeVersionDeps,
): { readonly run: RunRows; readonly expects: ((rows: number) => Provider) | null } {
  const costs = (provider: Provider): CostFit => fits.get(provider) as CostFit
  const cpu = runs.get('cpu')
  const cuda = runs.get('cuda')
  if (cuda === undefined) return { run: cpu as RunRows, expects: null }
  if (cpu === undefined) {
    return { run: gpu.counted(cuda, (rows) => costs('cuda').predictMs(rows.length / width)), expects: null }
  }
  const loads = { cpu: createProviderLoad(clock), cuda: gpu }
  return routeByProvider({ width, cpu, cuda, costs, loads, clock, logger })
}

/** Whether a provider's answers are kept; each has its own. */
function hasCache(cost: Pick<ModelProfile, 'rowUs'>, { predictionCacheBytes }: ServeSettings, width: number): boolean {
  return predictionCacheBytes > 0 && worthCaching(cost, width)
}
