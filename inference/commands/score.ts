import { systemClock } from '../../infra/runtime/clock.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { startBundledRoutes } from '../models/bundled-routes.ts'
import { requireBundled } from '../models/require-bundled.ts'
import { type ScoredRow, scoreRows } from '../score-rows.ts'

const SETTINGS = {
  maxRows: 2_048,
  maxBytes: 2 ** 26,
  maxLingerMs: 0,
  executor: 'auto',
  predictionCacheBytes: 0,
} as const

/**
 * What inference makes of feature rows (each of the pipeline's width, float32, NaN = missing), without Kafka or registry:
 * the version in the pipeline's folder that would score them. Rejects with `invalid_model`, `no_model` or `model_mismatch`
 * (crash).
 */
export async function score(pipelineFolder: string, rows: readonly Float32Array[]): Promise<readonly ScoredRow[]> {
  const pipeline = await loadPipeline(pipelineFolder)
  requireBundled(pipeline)
  const { value: routes, stop } = await startBundledRoutes({
    pipeline,
    settings: SETTINGS,
    clock: systemClock,
    logger: silentLogger,
    observer: { released: () => {}, looked: () => {} },
  })
  const route = routes.acquire(pipeline.featureSet.digest)
  if (route === null) throw new Error('a version that was found is not loaded')
  try {
    return await scoreRows(route.primary, pipeline.model, rows)
  } finally {
    route.release()
    await stop()
  }
}
