import type { BatchHandler, Outcome } from '../infra/runtime/kafka/outcome.ts'
import type { VectorColumns, VectorFormat } from '../infra/runtime/vectors.ts'
import type { ModelSet } from './models/model-set.ts'
import { PREDICTIONS_OUTPUT } from './score-batch.ts'
import { createScoreColumns, type ScoreColumnsDeps } from './score-columns.ts'

export interface FusedBatchDeps extends ScoreColumnsDeps {
  /** The processors' work: vectors of events, or their rejection. */
  readonly vectorsOf: (outcomes: readonly Outcome[], format: VectorFormat) => Promise<readonly VectorColumns[]>
  /** Digest of the feature set that it computes. */
  readonly featureSet: string
  readonly models: ModelSet
  /** Registry id of the prediction's schema. */
  readonly schemaId: number
}

/**
 * Events in, predictions out, without the features topic: what the processors and inference would do one after the other.
 */
export function createFusedBatch(deps: FusedBatchDeps): BatchHandler {
  const { vectorsOf, featureSet, models, schemaId } = deps
  const scoring = createScoreColumns(deps)
  return {
    async handle(outcomes) {
      if (models.find(featureSet) === null) await models.rescan()
      const model = models.find(featureSet)
      if (model === null) {
        for (const outcome of outcomes) {
          outcome.defer(0, 'no_model_for_feature_set', `no model takes feature set ${featureSet}`)
        }
        return
      }
      const vectors = await vectorsOf(outcomes, { schemaId, room: scoring.roomFor(model) })
      await scoring.score(
        outcomes.map((outcome, at) => ({ outcome, model, vectors: vectors[at] as VectorColumns })),
        PREDICTIONS_OUTPUT,
      )
    },
  }
}
