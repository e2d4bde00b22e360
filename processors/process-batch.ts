import type { BatchHandler } from '../infra/runtime/kafka/outcome.ts'
import { createVectorsOfBatches, type VectorsOfBatchesDeps } from './vectors-of-batches.ts'

export { createVectorsOfBatches } from './vectors-of-batches.ts'

/** Name of the processors' output, and of the topic's last part. */
export const FEATURES_OUTPUT = 'features'

export interface ProcessBatchDeps extends VectorsOfBatchesDeps {
  /** Registry id of the feature vector's schema. */
  readonly schemaId: number
}

/** Events in, feature vectors out, in their order and under their own keys. */
export function createProcessBatch(deps: ProcessBatchDeps): BatchHandler {
  const vectorsOf = createVectorsOfBatches(deps)
  const format = { schemaId: deps.schemaId, room: 0 }
  return {
    async handle(outcomes) {
      const vectors = await vectorsOf(outcomes, format)
      for (const [at, outcome] of outcomes.entries()) {
        const rows = vectors[at]
        if (rows === undefined) continue
        rows.releaseFeatures()
        outcome.emitColumns(FEATURES_OUTPUT, rows)
      }
    },
  }
}
