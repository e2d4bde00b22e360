import type { AvroReader, Decoded } from '../infra/runtime/avro/avro-reader.ts'
import { WIRE_HEADER_BYTES } from '../infra/runtime/avro/wire-format.ts'
import type { ColumnBatch } from '../infra/runtime/kafka/consumer/column-batch.ts'
import type { BatchHandler, Outcome, Rejection } from '../infra/runtime/kafka/outcome.ts'
import type { FeatureVector, Prediction } from '../schemas/generated/records.ts'
import { microBatches, type Row } from './batching/micro-batch.ts'
import { type RowResult, runRows } from './batching/run-rows.ts'
import type { LoadedModel } from './models/load-model.ts'
import type { ModelSet } from './models/model-set.ts'
import { readOutputs } from './read-outputs.ts'
import { findVectors, isVectorLayout, readVectors, type VectorPlaces } from './read-vectors.ts'
import { createScoreColumns, type ScoreColumnsDeps } from './score-columns.ts'
import { vectorProblem } from './vector-problem.ts'

/** Name of inference's output, and of the topic's last part. */
export const PREDICTIONS_OUTPUT = 'predictions'

export interface ScoreBatchDeps extends ScoreColumnsDeps {
  readonly vectors: AvroReader<FeatureVector>
  readonly models: ModelSet
  /** Registry id of the prediction's schema. */
  readonly schemaId: number
  /** To the value of a record of the predictions topic. */
  readonly encode: (prediction: Prediction) => Buffer
}

/**
 * Feature vectors in, predictions out, in their order and under their own keys. The vectors of all partitions are scored
 * together; a vector of a feature set that no loaded model takes waits with everything behind it, and is never given up:
 * its model may be on the way.
 */
export function createScoreBatch(deps: ScoreBatchDeps): BatchHandler {
  const { vectors, models, schemaId } = deps
  const scoring = createScoreColumns(deps)
  const readable = createReadableHandler(deps)
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
    const places = findVectors(batch)
    const model = places === null ? null : models.find(places.featureSet)
    return model === null || model.width !== places?.width ? null : places
  }

  return {
    async handle(outcomes) {
      await vectors.prepareIds(schemaIds(outcomes))
      const lanes: { readonly outcome: Outcome; readonly places: VectorPlaces }[] = []
      const others: Outcome[] = []
      for (const outcome of outcomes) {
        const places = placesOf(outcome.batch)
        if (places === null) others.push(outcome)
        else lanes.push({ outcome, places })
      }
      // first, as it may exchange models
      if (others.length > 0) await readable.handle(others)
      const scored = lanes.map(({ outcome, places }) => {
        const model = models.find(places.featureSet)
        if (model === null) throw new Error(`the model of feature set ${places.featureSet} is gone`)
        const format = { schemaId, room: scoring.roomFor(model) }
        return { outcome, model, vectors: readVectors(outcome.batch, places, format) }
      })
      await scoring.score(scored, PREDICTIONS_OUTPUT)
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

/** A decoded vector, and where it came from. */
interface Subject {
  readonly outcome: Outcome
  readonly index: number
  readonly vector: FeatureVector
}

type Fate = { readonly prediction: Prediction } | { readonly rejection: Rejection }

/** The same, an object for each record: of batches that hold something else than vectors of one feature set. */
function createReadableHandler(deps: ScoreBatchDeps): BatchHandler {
  const { vectors, models, choice, encode, clock, observer } = deps

  function decodeLane({ batch }: Outcome): readonly Decoded<FeatureVector>[] {
    return Array.from({ length: batch.length }, (_, index) => vectors.decode(batch.value(index)))
  }

  /**
   * Decides what needs no model, up to the first record that has to wait; what is left becomes rows. Answers the fates by
   * index, where rows have none yet.
   */
  function examine(outcome: Outcome, lane: readonly Decoded<FeatureVector>[], rows: Row<Subject>[]): (Fate | null)[] {
    const fates: (Fate | null)[] = []
    for (const [index, decoded] of lane.entries()) {
      if (!decoded.ok) {
        if (decoded.pending) {
          outcome.defer(index, 'unknown_schema', decoded.message)
          break
        }
        const { reason, message } = decoded
        fates.push({ rejection: { kind: 'rejected', reason, message, origin: null } })
        continue
      }
      const vector = decoded.record
      const model = models.find(vector.feature_set)
      if (model === null) {
        outcome.defer(index, 'no_model_for_feature_set', `no model takes feature set ${vector.feature_set}`)
        break
      }
      const problem = vectorProblem(model.manifest, vector.features)
      fates.push(problem === null ? null : rejectionOf(vector, problem))
      if (problem === null) rows.push({ model, features: vector.features, subject: { outcome, index, vector } })
    }
    return fates
  }

  function fateOf({ outcome, index, vector }: Subject, model: LoadedModel, result: RowResult, scoredAt: number): Fate {
    if (!result.ok) return rejectionOf(vector, { reason: 'model_error', message: result.message })
    const { manifest } = model
    const read = readOutputs(manifest, choice, result.outputs)
    if (!read.ok) return rejectionOf(vector, read.problem)
    return {
      prediction: {
        ...vector,
        ...read.answer,
        source_generation: outcome.batch.generation,
        source_offset: outcome.batch.offset(index),
        model: manifest.name,
        model_version: manifest.version,
        model_digest: manifest.sha256,
        role: 'primary',
        provider: 'cpu',
        batch_rows: result.batchRows,
        scored_at: scoredAt,
        answer: 'scored',
      },
    }
  }

  async function score(rows: readonly Row<Subject>[], fates: ReadonlyMap<Outcome, (Fate | null)[]>): Promise<void> {
    for (const { model, subjects, tensor } of microBatches(rows, deps.maxRows)) {
      const startedAt = clock.monotonic()
      const results = await runRows(model, tensor)
      observer.ran(model, subjects.length, (clock.monotonic() - startedAt) / 1_000)
      const scoredAt = clock.now()
      for (const [at, subject] of subjects.entries()) {
        const lane = fates.get(subject.outcome) as (Fate | null)[]
        lane[subject.index] = fateOf(subject, model, results[at] as RowResult, scoredAt)
      }
    }
  }

  return {
    async handle(outcomes) {
      await vectors.prepare(valuesOf(outcomes))
      const lanes = outcomes.map(decodeLane)
      const unknown = lanes.flat().some((decoded) => decoded.ok && models.find(decoded.record.feature_set) === null)
      if (unknown) await models.rescan()

      const rows: Row<Subject>[] = []
      const fates = new Map(outcomes.map((outcome, at) => [outcome, examine(outcome, lanes[at] ?? [], rows)]))
      await score(rows, fates)

      // outputs go out in the order in which they are emitted, whichever run they were in
      for (const [outcome, lane] of fates) {
        for (const [index, fate] of lane.entries()) {
          if (fate === null) continue
          if ('rejection' in fate) outcome.reject(index, fate.rejection)
          else {
            const { prediction } = fate
            outcome.emit(index, PREDICTIONS_OUTPUT, outcome.batch.key(index), encode(prediction), subjectOf(prediction))
          }
        }
      }
    },
  }
}

function rejectionOf(vector: FeatureVector, problem: { readonly reason: string; readonly message: string }): Fate {
  return {
    rejection: {
      kind: 'rejected',
      ...problem,
      ...subjectOf(vector),
    },
  }
}

function* valuesOf(outcomes: readonly Outcome[]): Generator<Buffer | null> {
  for (const { batch } of outcomes) for (let index = 0; index < batch.length; index++) yield batch.value(index)
}

/** The event, by its coordinates in the events topic: those of the vector's own record mean nothing there. */
function subjectOf(vector: FeatureVector | Prediction) {
  return {
    tenant: vector.tenant,
    eventId: vector.event_id,
    origin: { generation: vector.origin_generation, offset: vector.origin_offset },
  }
}
