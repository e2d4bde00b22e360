import { columnsOf } from '../infra/runtime/kafka/consumer/column-batch.ts'
import type { BatchHandler, Outcome } from '../infra/runtime/kafka/outcome.ts'
import type { ColumnLane } from '../infra/runtime/vectors.ts'
import { createFeaturesOfBatch } from './features-of-batch.ts'
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
  const readOneByOne = createReadableHandler(deps)
  const format = { schemaId: deps.schemaId, room: 0 }
  return {
    async handle(outcomes) {
      const lanes: ColumnLane[] = []
      const others: Outcome[] = []
      for (const outcome of outcomes) {
        const batch = columnsOf(outcome.batch)
        if (batch === null) others.push(outcome)
        else lanes.push({ outcome, batch })
      }
      if (others.length > 0) await readOneByOne.handle(others)
      if (lanes.length === 0) return
      const vectors = await vectorsOf(lanes, format)
      for (const [at, { outcome }] of lanes.entries()) {
        const rows = vectors[at]
        if (rows === undefined) continue
        rows.releaseFeatures()
        outcome.emitColumns(FEATURES_OUTPUT, rows)
      }
    },
  }
}

/** The same for batches that do not lie in columns, an object for each record. */
function createReadableHandler(deps: ProcessBatchDeps): BatchHandler {
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
