import { onTestFinished } from 'vitest'
import { createExecutors } from '../../inference/execution/executors.ts'
import { serveVersion } from '../../inference/models/serve-version.ts'
import type { RouteShare, Routes, ServedVersion } from '../../inference/rollout/routes.ts'
import { type Clock, systemClock } from '../../infra/runtime/clock.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'

const MEMORY_BYTES = 2 ** 32

/** A version as it serves in this process; released when the test is over. */
export async function servedInTest(
  manifest: ModelManifest,
  choice: CompiledModelChoice,
  options: { readonly clock?: Clock; readonly maxRows?: number } = {},
): Promise<ServedVersion> {
  const { clock = systemClock, maxRows = 1_024 } = options
  const executors = createExecutors({ logger: silentLogger, memoryLimitBytes: MEMORY_BYTES })
  onTestFinished(() => executors.close())
  const { version, close } = await serveVersion(
    { manifest, profiles: [], purpose: 'answers' },
    {
      choice,
      providers: ['cpu'],
      executors,
      settings: { maxRows, maxBytes: 2 ** 30, maxLingerMs: 0, executor: 'inline', predictionCacheBytes: 0 },
      clock,
      logger: silentLogger,
      observer: { released: () => {}, looked: () => {} },
    },
  )
  onTestFinished(() => close())
  return version
}

/** Routes that never change, for the feature set of the primary. */
export function fixedRoutes(primary: ServedVersion, canary: RouteShare | null = null): Routes {
  return {
    acquire: (featureSet) =>
      featureSet === primary.manifest.featureSet.digest ? { primary, canary, shadow: null, release: () => {} } : null,
    problem: () => null,
  }
}
