import { join } from 'node:path'
import { fatal } from '../../infra/runtime/errors.ts'
import { explainMisfit } from '../../schemas/pipeline/check-models.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { listModelVersions, readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { formatProblem, PipelineError } from '../../schemas/pipeline/problems.ts'

/**
 * Throws `no_model`, `invalid_model` or `model_mismatch` (crash) when no version in the pipeline's folder takes what the
 * pipeline computes; says how the highest one differs.
 */
export function requireBundled(pipeline: CompiledPipeline): void {
  const { directory, name } = pipeline.model
  const folders = listModelVersions(directory)
  if (folders.length === 0) throw fatal('no_model', `${directory}: there is no version of model ${name}`)
  try {
    const misfits = folders.map((folder) =>
      explainMisfit(pipeline, readModelManifest(folder), join(folder, 'manifest.json')),
    )
    if (misfits.some((problems) => problems.length === 0)) return
    throw fatal('model_mismatch', (misfits.at(-1) ?? []).map(formatProblem).join('\n'))
  } catch (error) {
    if (error instanceof PipelineError) throw fatal('invalid_model', error.message, error)
    throw error
  }
}
