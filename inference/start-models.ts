import type { Compiled } from '../infra/runtime/config.ts'
import { fatal } from '../infra/runtime/errors.ts'
import type { LaneHop } from '../infra/runtime/kafka/hop/lane-hop.ts'
import type { StageContext } from '../infra/runtime/stage-process.ts'
import type { ModelFacts } from '../infra/runtime/telemetry/stage-report.ts'
import { consumerGroup } from '../schemas/topics.ts'
import { type INFERENCE, MIB } from './config.ts'
import { createExecutors, type ExecutorPurpose } from './execution/executors.ts'
import { isProviderThere } from './execution/providers/is-provider-there.ts'
import { ownGpu } from './execution/providers/own-gpu.ts'
import { takeProviders } from './execution/providers/take-providers.ts'
import { createInstruments } from './instruments.ts'
import { createVersionCache } from './models/create-version-cache.ts'
import { requireFit } from './models/require-fit.ts'
import { serveVersion } from './models/serve-version.ts'
import type { ServeSettings } from './models/served-as.ts'
import { fetchVersion } from './models/store/fetch-version.ts'
import { openModelStore } from './models/store/open-store.ts'
import type { OpenedVersion, VersionCache } from './models/version-cache.ts'
import type { Routes, ServedVersion } from './rollout/routes.ts'
import { startShadow } from './rollout/shadow/start-shadow.ts'
import { startRollout } from './rollout/start-rollout.ts'
import { readVersionId, type VersionSource } from './rollout/version-catalogue.ts'
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
  const providers = await context.start('providers', () =>
    takeProviders(pipeline.model, { isThere: isProviderThere, own: () => ownGpu(own.gpu), clock, logger }),
  )
  const executors = await context.start('executors', async () => {
    const created = createExecutors({
      ...{ logger, observer: instruments },
      memoryLimitBytes: own.childMemoryMb * MIB,
    })
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

  async function open(source: VersionSource, purpose: ExecutorPurpose): Promise<OpenedVersion> {
    const { from } = source
    if (from.kind === 'bundled') return serveVersion({ manifest: from.manifest, profiles: [], purpose }, serving)
    const manifest = await fetchVersion(store, own.modelCache, from.entry.manifest)
    requireFit(pipeline, manifest, from.entry)
    return serveVersion({ manifest, profiles: from.entry.profiles, purpose }, serving)
  }

  const started: { hop?: LaneHop; cache?: VersionCache } = {}
  const ids = new WeakMap<ServedVersion, string>()
  const { routes, guards, failed } = await startRollout(context, {
    group: consumerGroup(pipeline.name, reader),
    isCoordinator: () => started.hop?.source.positions().has(0) ?? null,
    async openCache(catalogue) {
      const cache = createVersionCache({
        async open(id) {
          const wanted = readVersionId(id)
          const source = catalogue.byId(wanted.id)
          if (source === null) throw fatal('unknown_version', `no version has the id ${id}`)
          const opened = await open(source, wanted.isShadow ? 'shadow' : 'answers')
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
    const { scores, rows, failed, invalid, runMs, runRows } = answers
    guards.scored(version.manifest.version, scores, rows, failed, invalid, runMs, runRows)
  }
  return {
    scoring: { choice: pipeline.model, routes, clock, observer: { answered }, shadow, failed },
    facts() {
      const { active = null, proposed = null } = routes.rollout() ?? {}
      const ready = routes.readyEpoch()
      instruments.epochs(proposed?.plan.epoch ?? active?.epoch ?? 0, ready)
      return { ...instruments.takeFacts(), ready_epoch: ready }
    },
    servedBy(hop) {
      started.hop = hop
    },
  }
}
