import type { Clock } from '../../infra/runtime/clock.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { createExecutors } from '../execution/executors.ts'
import { createRoutes, type RolloutRoutes } from '../rollout/create-routes.ts'
import { createVersionCatalogue } from '../rollout/version-catalogue.ts'
import { createVersionCache } from './create-version-cache.ts'
import { serveVersion } from './serve-version.ts'
import type { ServeObserver, ServeSettings } from './served-as.ts'

export interface BundledRoutesOptions {
  readonly pipeline: CompiledPipeline
  readonly settings: ServeSettings
  readonly clock: Clock
  readonly logger: Logger
  readonly observer: ServeObserver
}

const CHILD_MEMORY_BYTES = 4 * 2 ** 30

/** The versions in the pipeline's own folder, as they serve while nothing was ever said in a control log. */
export async function startBundledRoutes(options: BundledRoutesOptions): Promise<Started<RolloutRoutes>> {
  const { pipeline, clock, logger } = options
  const catalogue = createVersionCatalogue({ pipeline, control: NOTHING_SAID, clock, logger })
  const executors = createExecutors({ logger, memoryLimitBytes: CHILD_MEMORY_BYTES })
  const cache = createVersionCache({
    async open(id) {
      const source = catalogue.byId(id)
      if (source?.from.kind !== 'bundled') throw fatal('unknown_version', `there is no version ${id}`)
      const { manifest } = source.from
      return serveVersion(
        { manifest, profiles: [], purpose: 'answers' },
        { ...options, choice: pipeline.model, providers: ['cpu'], executors },
      )
    },
    maxBytes: Number.POSITIVE_INFINITY,
    clock,
    logger,
    observer: { resident: () => {}, loaded: () => {}, evicted: () => {} },
  })
  const routes = createRoutes({ model: pipeline.model.name, control: NOTHING_SAID, catalogue, cache, clock, logger })
  const stop = async (): Promise<void> => {
    await cache.close()
    await executors.close()
  }
  try {
    await routes.loadBundled()
  } catch (error) {
    await stop()
    throw error
  }
  return { value: routes, stop }
}

const NOTHING_SAID: ControlLog = {
  revision: 0,
  latest: () => null,
  all: () => new Map(),
  append: () => Promise.reject(fatal('no_control_log', 'there is no control log to write to')),
  watch: () => () => {},
}
