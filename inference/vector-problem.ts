import type { DeadLetterReason } from '../schemas/dead-letter-reasons.ts'
import type { ModelManifest } from '../schemas/pipeline/manifest.ts'

/** Why the model may not be given this vector; null when it may. */
export function vectorProblem(
  { input }: ModelManifest,
  features: readonly number[],
): { readonly reason: DeadLetterReason; readonly message: string } | null {
  if (features.length !== input.features.length) {
    const message = `${features.length} features where the feature set has ${input.features.length}`
    return { reason: 'feature_width', message }
  }
  const bad = features.findIndex(
    (value) => !Number.isFinite(value) && !(input.missing === 'nan' && Number.isNaN(value)),
  )
  if (bad === -1) return null
  const name = input.features[bad]?.name ?? String(bad)
  const what = Number.isNaN(features[bad]) ? 'missing, which the model does not take' : 'infinite'
  return { reason: 'non_finite', message: `feature ${name} is ${what}` }
}
