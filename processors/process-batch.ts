import type { BatchHandler } from '../infra/runtime/kafka/outcome.ts'
import type { FeatureVector } from '../schemas/generated/records.ts'
import { createFeaturesOfBatch, type FeaturesOfBatchDeps } from './features-of-batch.ts'

/** Name of the processors' output, and of the topic's last part. */
export const FEATURES_OUTPUT = 'features'

export interface ProcessBatchDeps extends FeaturesOfBatchDeps {
  /** To the value of a record of the features topic. */
  readonly encode: (vector: FeatureVector) => Buffer
  readonly observer: ProcessObserver
}

/** Called once per call; must not throw. */
export interface ProcessObserver {
  processed(counts: { readonly vectors: number; readonly degraded: number; readonly stepErrors: number }): void
}

/** Events in, feature vectors out, in their order and under their own keys. */
export function createProcessBatch(deps: ProcessBatchDeps): BatchHandler {
  const featuresOf = createFeaturesOfBatch(deps)
  return {
    async handle(outcomes) {
      const results = await featuresOf(outcomes.map((outcome) => outcome.batch))
      const counts = { vectors: 0, degraded: 0, stepErrors: 0 }
      for (const [at, outcome] of outcomes.entries()) {
        for (const [index, result] of (results[at] ?? []).entries()) {
          if (!result.ok && 'deferral' in result) {
            outcome.defer(index, result.deferral.code, result.deferral.message)
            break
          }
          if (!result.ok) {
            outcome.reject(index, result.rejection)
            if (result.rejection.reason === 'step_error') counts.stepErrors += 1
            continue
          }
          const { vector } = result
          const subject = { tenant: vector.tenant, eventId: vector.event_id }
          outcome.emit(index, FEATURES_OUTPUT, outcome.batch.key(index), deps.encode(vector), subject)
          counts.vectors += 1
          if (vector.degraded) counts.degraded += 1
        }
      }
      deps.observer.processed(counts)
    },
  }
}
