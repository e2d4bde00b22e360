import type { AvroReader } from '../infra/runtime/avro/avro-reader.ts'
import { WIRE_HEADER_BYTES } from '../infra/runtime/avro/wire-format.ts'
import type { ColumnBatch } from '../infra/runtime/kafka/consumer/column-batch.ts'
import type { BatchHandler, Outcome } from '../infra/runtime/kafka/outcome.ts'
import type { FeatureVector } from '../schemas/generated/records.ts'
import { createOddVectors } from './odd-vectors.ts'
import { findVectors, isVectorLayout, readVectors, type VectorPlaces } from './read-vectors.ts'
import { holdRoutes } from './rollout/hold-routes.ts'
import type { Routes } from './rollout/routes.ts'
import { createScoreColumns, type ScoreColumnsDeps, type ScoringLane } from './score-columns.ts'

/** Name of inference's output, and of the topic's last part. */
export const PREDICTIONS_OUTPUT = 'predictions'

export interface ScoreBatchDeps extends ScoreColumnsDeps {
  readonly vectors: AvroReader<FeatureVector>
  /** To a value of the predictions topic, as far as a prediction is the same as its vector. */
  readonly encodeVector: (vector: FeatureVector) => Buffer
  readonly routes: Routes
  /** Registry id of the prediction's schema. */
  readonly schemaId: number
  /** Batches that may be scored at the same time. */
  readonly concurrency: number
}

/**
 * Feature vectors in, predictions out, in their order and under their own keys. The vectors of all partitions are scored
 * together; a vector of a feature set that no loaded version takes waits with everything behind it, and is never given up:
 * its model may be on the way.
 */
export function createScoreBatch(deps: ScoreBatchDeps): BatchHandler {
  const { vectors, routes, schemaId, concurrency } = deps
  const scoring = createScoreColumns(deps)
  const oddVectors = createOddVectors(deps)
  /** Whether values of a schema have the layout that is read in columns. */
  const layouts = new Map<number, boolean>()

  function hasLayout(id: number): boolean {
    const known = layouts.get(id)
    if (known !== undefined) return known
    const schema = vectors.writerSchema(id)
    if (schema === null) return false
    const fits = isVectorLayout(schema)
    layouts.set(id, fits)
    return fits
  }

  /** Null when the batch has to be read one by one. */
  function placesOf(batch: ColumnBatch): VectorPlaces | null {
    const { values, length } = batch
    for (let row = 0; row < length; row++) {
      const at = values.starts[row] as number
      const { bytes } = values
      if ((values.lengths[row] as number) < WIRE_HEADER_BYTES || bytes[at] !== 0) return null
      if (!hasLayout(bytes.readInt32BE(at + 1))) return null
    }
    return findVectors(batch)
  }

  return {
    concurrency,
    async handle(outcomes) {
      await vectors.prepareIds(schemaIds(outcomes))
      const held = holdRoutes(routes)
      try {
        const lanes = outcomes.flatMap((outcome): readonly ScoringLane[] => {
          const places = placesOf(outcome.batch)
          if (places === null) return oddVectors(outcome, held.routeOf, scoring.roomFor)
          const route = held.routeOf(places.featureSet)
          if (route === null) {
            outcome.defer(0, 'no_model_for_feature_set', `no model takes feature set ${places.featureSet}`)
            return []
          }
          const format = { schemaId, room: scoring.roomFor(route) }
          return [{ outcome, route, vectors: readVectors(outcome.batch, places, format) }]
        })
        await scoring.score(lanes, PREDICTIONS_OUTPUT)
      } finally {
        held.release()
      }
    },
  }
}

function* schemaIds(outcomes: readonly Outcome[]): Generator<number> {
  for (const { batch } of outcomes) {
    const { values, length } = batch
    let last: number | null = null
    for (let row = 0; row < length; row++) {
      if ((values.lengths[row] as number) < WIRE_HEADER_BYTES) continue
      const id = values.bytes.readInt32BE((values.starts[row] as number) + 1)
      if (id !== last) yield id
      last = id
    }
  }
}
