import type { AvroReader } from '../infra/runtime/avro/avro-reader.ts'
import type { Outcome } from '../infra/runtime/kafka/outcome.ts'
import { pickSlices } from '../infra/runtime/kafka/record-batches/columns.ts'
import { type VectorColumns, vectorSubject } from '../infra/runtime/vectors.ts'
import type { FeatureVector } from '../schemas/generated/records.ts'
import type { Route } from './rollout/routes.ts'
import type { ScoringLane } from './score-columns.ts'

export interface OddVectorsDeps {
  readonly vectors: AvroReader<FeatureVector>
  /** In the wire format of a prediction. */
  readonly encodeVector: (vector: FeatureVector) => Buffer
}

/**
 * The vectors of a batch that is not all of one layout and one feature set, read one by one: one list for each feature set and
 * width. What is no vector is rejected; a vector whose schema or model is not there yet waits with all behind it.
 */
export type OddVectors = (
  outcome: Outcome,
  routeOf: (featureSet: string) => Route | null,
  roomFor: (route: Route) => number,
) => readonly ScoringLane[]

interface Row {
  readonly index: number
  readonly vector: FeatureVector
}

export function createOddVectors({ vectors, encodeVector }: OddVectorsDeps): OddVectors {
  function columnsOf({ batch }: Outcome, rows: readonly Row[], room: number): VectorColumns {
    const width = rows[0]?.vector.features.length ?? 0
    const encoded = rows.map(({ index, vector }) =>
      encodeVector({ ...vector, source_generation: batch.generation, source_offset: batch.offset(index) }),
    )
    const bytes = Buffer.allocUnsafe(encoded.reduce((sum, { length }) => sum + length + room, 0))
    const starts = new Int32Array(rows.length)
    const lengths = Int32Array.from(encoded, ({ length }) => length)
    const features = new Float32Array(rows.length * width)
    let at = 0
    for (const [row, value] of encoded.entries()) {
      starts[row] = at
      at += value.copy(bytes, at) + room
      features.set(rows[row]?.vector.features ?? [], row * width)
    }
    const sources = Int32Array.from(rows, ({ index }) => index)
    const values = { bytes, starts, lengths }
    return {
      length: rows.length,
      sources,
      keys: pickSlices(batch.keys, sources),
      values,
      features,
      width,
      subjectOf: (row) => vectorSubject(values, row),
      releaseFeatures: () => {},
    }
  }

  return (outcome, routeOf, roomFor) => {
    const { batch } = outcome
    const groups = new Map<string, { readonly route: Route; readonly rows: Row[] }>()
    for (let index = 0; index < batch.length; index++) {
      const decoded = vectors.decode(batch.value(index))
      if (!decoded.ok) {
        if (decoded.pending) {
          outcome.defer(index, 'unknown_schema', decoded.message)
          break
        }
        const { reason, message } = decoded
        outcome.reject(index, { kind: 'rejected', reason, message, origin: null })
        continue
      }
      const vector = decoded.record
      const route = routeOf(vector.feature_set)
      if (route === null) {
        outcome.defer(index, 'no_model_for_feature_set', `no model takes feature set ${vector.feature_set}`)
        break
      }
      const name = `${vector.feature_set} ${vector.features.length}`
      const group = groups.get(name)
      if (group === undefined) groups.set(name, { route, rows: [{ index, vector }] })
      else group.rows.push({ index, vector })
    }
    return [...groups.values()].map(({ route, rows }) => ({
      outcome,
      route,
      vectors: columnsOf(outcome, rows, roomFor(route)),
    }))
  }
}
