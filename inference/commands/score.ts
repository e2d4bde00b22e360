import { systemClock } from '../../infra/runtime/clock.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { microBatches } from '../batching/micro-batch.ts'
import { runRows } from '../batching/run-rows.ts'
import { loadModels, requireModelFor } from '../models/model-set.ts'
import { type Answer, readOutputs } from '../read-outputs.ts'
import { vectorProblem } from '../vector-problem.ts'

export type ScoredRow =
  | ({ readonly ok: true } & Answer)
  | { readonly ok: false; readonly reject: string; readonly message: string }

const MAX_ROWS = 1_024

/**
 * What inference makes of feature rows (each of the pipeline's width, float32, NaN = missing), without Kafka or registry:
 * the version that would score them now. Rejects with `invalid_model`, `no_model` or `model_mismatch` (crash).
 */
export async function score(pipelineFolder: string, rows: readonly Float32Array[]): Promise<readonly ScoredRow[]> {
  const pipeline = await loadPipeline(pipelineFolder)
  const models = await loadModels({ pipeline, clock: systemClock, logger: silentLogger })
  try {
    const model = requireModelFor(pipeline, models)
    const scored: ScoredRow[] = []
    const wanted = rows.flatMap((row, subject) => {
      const features = Array.from(row)
      const problem = vectorProblem(model.manifest, features)
      if (problem === null) return [{ model, features, subject }]
      scored[subject] = { ok: false, reject: problem.reason, message: problem.message }
      return []
    })
    for (const { subjects, tensor } of microBatches(wanted, MAX_ROWS)) {
      const results = await runRows(model, tensor)
      for (const [at, subject] of subjects.entries()) {
        const result = results[at]
        if (result === undefined || !result.ok) {
          scored[subject] = { ok: false, reject: 'model_error', message: result?.message ?? '' }
          continue
        }
        const read = readOutputs(model.manifest, pipeline.model, result.outputs)
        scored[subject] = read.ok
          ? { ok: true, ...read.answer }
          : { ok: false, reject: read.problem.reason, message: read.problem.message }
      }
    }
    return scored
  } finally {
    await models.release()
  }
}
