import type { Clock } from '../../infra/runtime/clock.ts'
import { readConfig } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { INFERENCE, MIB } from '../config.ts'
import { createExecutors } from '../execution/executors.ts'
import { knownVersions } from '../models/model-entries.ts'
import { requireFit } from '../models/require-fit.ts'
import { serveVersion } from '../models/serve-version.ts'
import type { VersionFacts } from '../models/served-as.ts'
import { fetchVersion } from '../models/store/fetch-version.ts'
import { openModelStore } from '../models/store/open-store.ts'
import type { ServedVersion } from '../rollout/routes.ts'
import { createVersionCatalogue } from '../rollout/version-catalogue.ts'

export interface OpenVersionDeps {
  readonly control: ControlLog
  readonly env: NodeJS.ProcessEnv
  readonly clock: Clock
}

/**
 * A version of the pipeline's model, `<model>/<version>`, loaded as a stage loads it, on the CPU: a registered one from the model store,
 * also when it is retired; else one in the pipeline's folder. Rejects with `unknown_version`, `invalid_model` and as the store does.
 */
export async function openVersion(
  pipeline: CompiledPipeline,
  name: string,
  { control, env, clock }: OpenVersionDeps,
): Promise<Started<ServedVersion>> {
  const own = readConfig(INFERENCE, env)
  const logger = silentLogger
  const facts = await findVersion(pipeline, name, { control, env, clock })
  const executors = createExecutors({ logger, memoryLimitBytes: own.childMemoryMb * MIB })
  try {
    const { maxRows, maxBytes, executor } = own
    const { version, close } = await serveVersion(facts, {
      choice: pipeline.model,
      // a GPU is one process's own: the one that serves
      providers: ['cpu'],
      executors,
      settings: { maxRows, maxBytes, maxLingerMs: 0, executor, predictionCacheBytes: 0 },
      clock,
      logger,
      observer: { released: () => {}, looked: () => {} },
    })
    const stop = async (): Promise<void> => {
      await close()
      await executors.close()
    }
    return { value: version, stop }
  } catch (error) {
    await executors.close()
    throw error
  }
}

async function findVersion(
  pipeline: CompiledPipeline,
  name: string,
  { control, env, clock }: OpenVersionDeps,
): Promise<VersionFacts> {
  const model = pipeline.model.name
  const catalogue = createVersionCatalogue({ pipeline, control, clock, logger: silentLogger })
  const registered = knownVersions(control, model).map(({ entry }) => entry)
  const entry = registered.find((each) => `${model}/${each.version}` === name)
  if (entry !== undefined) {
    const { modelCache, ...place } = readConfig(INFERENCE, env)
    const store = await openModelStore(place)
    try {
      const manifest = await fetchVersion(store, modelCache, entry.manifest)
      requireFit(pipeline, manifest, entry)
      return { manifest, profiles: entry.profiles, purpose: 'answers' }
    } finally {
      await store.close()
    }
  }
  const bundled = name.startsWith(`${model}/`) ? catalogue.named(name.slice(model.length + 1), 'bundled') : null
  if (bundled?.from.kind === 'bundled') return { manifest: bundled.from.manifest, profiles: [], purpose: 'answers' }
  const known = [...registered, ...catalogue.bundled()].map(({ version }) => `${model}/${version}`)
  const message = `pipeline ${pipeline.name} has no version ${name}; it has ${[...new Set(known)].join(', ') || 'none'}`
  throw fatal('unknown_version', message)
}
