import type { BatchHandler, Outcome } from '../infra/runtime/kafka/outcome.ts'
import type { VectorColumns, VectorFormat } from '../infra/runtime/vectors.ts'
import { holdRoutes } from './rollout/hold-routes.ts'
import type { Routes } from './rollout/routes.ts'
import { PREDICTIONS_OUTPUT } from './score-batch.ts'
import { createScoreColumns, type ScoreColumnsDeps } from './score-columns.ts'

export interface FusedBatchDeps extends ScoreColumnsDeps {
  /** The processors' work: vectors of events, or their rejection. Never called twice at the same time. */
  readonly vectorsOf: (outcomes: readonly Outcome[], format: VectorFormat) => Promise<readonly VectorColumns[]>
  /** Digest of the feature set that it computes. */
  readonly featureSet: string
  readonly routes: Routes
  /** Registry id of the prediction's schema. */
  readonly schemaId: number
  /** Batches that may be in work at the same time: one becomes vectors while others are scored. */
  readonly concurrency: number
}

/**
 * Events in, predictions out, without the features topic: what the processors and inference would do one after the other.
 */
export function createFusedBatch(deps: FusedBatchDeps): BatchHandler {
  const { featureSet, routes, schemaId, concurrency } = deps
  const scoring = createScoreColumns(deps)
  let turn: Promise<unknown> = Promise.resolve()

  function vectorsOf(outcomes: readonly Outcome[], format: VectorFormat): Promise<readonly VectorColumns[]> {
    const mine = turn.then(() => deps.vectorsOf(outcomes, format))
    // whoever waits for it is told; the next one has its own
    turn = mine.catch(() => {})
    return mine
  }

  return {
    concurrency,
    async handle(outcomes) {
      const held = holdRoutes(routes)
      try {
        const route = held.routeOf(featureSet)
        if (route === null) {
          for (const outcome of outcomes) {
            outcome.defer(0, 'no_model_for_feature_set', `no model takes feature set ${featureSet}`)
          }
          return
        }
        const vectors = await vectorsOf(outcomes, { schemaId, room: scoring.roomFor(route) })
        await scoring.score(
          outcomes.map((outcome, at) => ({ outcome, route, vectors: vectors[at] as VectorColumns })),
          PREDICTIONS_OUTPUT,
        )
      } finally {
        held.release()
      }
    },
  }
}
