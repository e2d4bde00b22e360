import { join } from 'node:path'
import { fatal } from '../../infra/runtime/errors.ts'
import type { ModelEntry } from '../../schemas/control/models.ts'
import { explainMisfit } from '../../schemas/pipeline/check-models.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { formatProblem } from '../../schemas/pipeline/problems.ts'

/**
 * Throws `invalid_model` (crash) when a registered version is not what its entry says, or does not give what this pipeline
 * asks for: it was pushed for the pipeline as it was then. Another feature set is what versions are for.
 */
export function requireFit(pipeline: CompiledPipeline, manifest: ModelManifest, entry: ModelEntry): void {
  const { model, version, digest, featureSet } = entry
  const said = [model, version, digest, featureSet]
  const found = [manifest.name, manifest.version, manifest.sha256, manifest.featureSet.digest]
  const differing = said.findIndex((value, at) => value !== found[at])
  if (differing >= 0) {
    const message = `${model}/${version}: the control log says ${said[differing]}, its manifest ${found[differing]}`
    throw fatal('invalid_model', message)
  }
  const problems = explainMisfit(pipeline, manifest, join(manifest.folder, 'manifest.json')).filter(
    ({ path }) => path !== 'input.features',
  )
  if (problems.length > 0) throw fatal('invalid_model', problems.map(formatProblem).join('\n'))
}
