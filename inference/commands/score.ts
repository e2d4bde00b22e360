import { systemClock } from '../../infra/runtime/clock.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { startBundledRoutes } from '../models/bundled-routes.ts'
import { requireBundled } from '../models/require-bundled.ts'
import { type Answer, readOutputs } from '../read-outputs.ts'
import { vectorProblem } from '../vector-problem.ts'

export type ScoredRow =
  | ({ readonly ok: true } & Answer)
  | { readonly ok: false; readonly reject: string; readonly message: string }

const SETTINGS = {
  maxRows: 1_024,
  maxBytes: 2 ** 26,
  maxLingerMs: 0,
  executor: 'inline',
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
    const { manifest, width, batcher } = route.primary
    const problems = rows.map((row) => vectorProblem(manifest, row))
    const asked = [...rows.keys()].filter((row) => problems[row] === null)
    const tensor = new Float32Array(asked.length * width)
    for (const [at, row] of asked.entries()) tensor.set(rows[row] as Float32Array, at * width)
    const deadline = Number.POSITIVE_INFINITY
    const { outputs, failures } = await batcher.submit({ lane: '', rows: tensor, arrivedAt: 0, deadline })
    const places = new Map(asked.map((row, at) => [row, at]))
    return problems.map((problem, row): ScoredRow => {
      if (problem !== null) return rejected(problem)
      const at = places.get(row) as number
      const failure = failures.get(at)
      if (failure !== undefined) return rejected(failure)
      const { width: outputWidth } = manifest.output
      const read = readOutputs(manifest, pipeline.model, outputs.subarray(at * outputWidth, (at + 1) * outputWidth))
      return read.ok ? { ok: true, ...read.answer } : rejected(read.problem)
    })
  } finally {
    route.release()
    await stop()
  }
}

function rejected({ reason, message }: { readonly reason: string; readonly message: string }): ScoredRow {
  return { ok: false, reject: reason, message }
}
