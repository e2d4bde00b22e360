import type { Compiled } from '../infra/runtime/config.ts'
import { fatal } from '../infra/runtime/errors.ts'
import type { LaneHop } from '../infra/runtime/kafka/hop/lane-hop.ts'
import { once } from '../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../infra/runtime/stage-process.ts'
import type { ModelFacts } from '../infra/runtime/telemetry/stage-report.ts'
import type { RolloutEntry } from '../schemas/control/models.ts'
import { consumerGroup } from '../schemas/topics.ts'
import { type INFERENCE, MIB } from './config.ts'
import { createExecutors } from './execution/executors.ts'
import { chooseProviders } from './execution/providers/choose-providers.ts'
import { isProviderThere } from './execution/providers/is-provider-there.ts'
import { ownGpu } from './execution/providers/own-gpu.ts'
import type { Provider } from './execution/run-rows.ts'
import { createInstruments } from './instruments.ts'
import { createVersionCache } from './models/create-version-cache.ts'
import { serveVersion } from './models/serve-version.ts'
import type { ServeSettings } from './models/served-as.ts'
import { fetchVersion } from './models/store/fetch-version.ts'
import { openModelStore } from './models/store/open-store.ts'
import type { OpenedVersion, VersionCache } from './models/version-cache.ts'
import type { Routes, ServedVersion } from './rollout/routes.ts'
import { startShadow } from './rollout/shadow/start-shadow.ts'
import { startRollout } from './rollout/start-rollout.ts'
import type { VersionSource } from './rollout/version-catalogue.ts'
import type { ScoreColumnsDeps, ScoreObserver } from './score-columns.ts'

type Settings = Compiled<Omit<typeof INFERENCE, 'maxRows'>> & { readonly maxRowsPerRun: number }

export interface Models {
  /** What scoring is made from. */
  readonly scoring: ScoreColumnsDeps & { readonly routes: Routes }
  /** For the stage's reports. */
  facts(): ModelFacts
  /** The hop that scores with them: who owns its lowest partition decides on rollouts. */
  servedBy(hop: LaneHop): void
}

/** Everything that turns vectors into answers, loaded and following the model's rollout. `reader` names the group that scores. */
export async function startModels(context: StageContext, own: Settings, reader: string): Promise<Models> {
  const { pipeline, clock, logger, metrics } = context
  const instruments = createInstruments(metrics)
  const providers = await startProviders(context, own)
  const executors = await context.start('executors', async () => {
    const created = createExecutors({ logger, memoryLimitBytes: own.childMemoryMb * MIB })
    return { value: created, stop: () => created.close() }
  })
  const store = await openModelStore(own)
  const settings: ServeSettings = {
    maxRows: own.maxRowsPerRun,
    maxBytes: own.maxBytes,
    maxLingerMs: own.maxLingerMs,
    executor: own.executor,
    predictionCacheBytes: own.predictionCacheMb * MIB,
  }
  const serving = { choice: pipeline.model, providers, executors, settings, clock, logger, observer: instruments }

  async function open(source: VersionSource, rollout: RolloutEntry | null): Promise<OpenedVersion> {
    const { from, version } = source
    const purpose = isShadowOnly(rollout, version) ? 'shadow' : 'answers'
    if (from.kind === 'bundled') return serveVersion({ manifest: from.manifest, profiles: [], purpose }, serving)
    const { manifest, profiles } = from.entry
    return serveVersion({ manifest: await fetchVersion(store, own.modelCache, manifest), profiles, purpose }, serving)
  }

  const started: { hop?: LaneHop; cache?: VersionCache } = {}
  const ids = new WeakMap<ServedVersion, string>()
  const { routes, guards } = await startRollout(context, {
    group: consumerGroup(pipeline.name, reader),
    isCoordinator: () => started.hop?.source.positions().has(0) ?? false,
    async openCache(catalogue, rollout) {
      const cache = createVersionCache({
        async open(id) {
          const source = catalogue.byId(id)
          if (source === null) throw fatal('unknown_version', `no version has the id ${id}`)
          const opened = await open(source, rollout())
          ids.set(opened.version, id)
          return opened
        },
        maxBytes: own.modelsMemoryMb * MIB,
        clock,
        logger,
        observer: instruments,
      })
      started.cache = cache
      return { value: cache, stop: () => cache.close() }
    },
  })
  const shadow = await startShadow(context, {
    hold: (version) => started.cache?.hold(ids.get(version) ?? '') ?? null,
    guards,
  })
  const answered: ScoreObserver['answered'] = (version, role, answers) => {
    instruments.answered(version, role, answers)
    if ((routes.rollout()?.active ?? null) === null) return
    const { scores, rows, failed, invalid, runMs } = answers
    guards.scored(version.manifest.version, scores, rows, failed, invalid, runMs)
  }
  return {
    scoring: { choice: pipeline.model, routes, clock, observer: { answered }, shadow },
    facts: () => ({ ...instruments.takeFacts(), ready_epoch: routes.readyEpoch() }),
    servedBy(hop) {
      started.hop = hop
    },
  }
}

/** Where the model may run; a GPU is this process's own from here on. */
async function startProviders({ pipeline, logger, start }: StageContext, own: Settings): Promise<readonly Provider[]> {
  const providers = await once({ start }, 'providers', () => chooseProviders(pipeline.model, isProviderThere, logger))
  if (providers.includes('cuda')) {
    await start('GPU', async () => ({ value: own.gpu, stop: await ownGpu(own.gpu) }))
  }
  return providers
}

/** Named for nothing but to be shown vectors: it runs where it takes nothing from the others. */
function isShadowOnly(rollout: RolloutEntry | null, version: string): boolean {
  const plans = [rollout?.active, rollout?.proposed?.plan].filter((plan) => plan !== null && plan !== undefined)
  const answers = plans.some(({ production, candidate }) => production === version || candidate?.version === version)
  return !answers && plans.some(({ shadow }) => shadow?.version === version)
}
