import type { Clock } from '../infra/runtime/clock.ts'
import type { EmittedColumns, Outcome } from '../infra/runtime/kafka/outcome.ts'
import { pickSlices } from '../infra/runtime/kafka/record-batches/columns.ts'
import { type VectorColumns, vectorSubject } from '../infra/runtime/vectors.ts'
import type { CompiledModelChoice } from '../schemas/pipeline/compiled.ts'
import { runTensor, type TensorResult } from './batching/run-rows.ts'
import type { LoadedModel } from './models/load-model.ts'
import { createPredictionTail, type PredictionTail } from './prediction-tail.ts'
import { readOutputs } from './read-outputs.ts'
import { vectorProblem } from './vector-problem.ts'

export interface ScoreColumnsDeps {
  readonly choice: CompiledModelChoice
  /** Most rows in one run. */
  readonly maxRows: number
  readonly clock: Clock
  readonly observer: ScoreObserver
}

/** Must not throw. */
export interface ScoreObserver {
  ran(model: LoadedModel, rows: number, seconds: number): void
}

/** Vectors of one lane, each with room for its prediction's rest. */
export interface ScoringLane {
  readonly outcome: Outcome
  readonly model: LoadedModel
  readonly vectors: VectorColumns
}

export interface ScoreColumns {
  /** Bytes that a vector has to leave free behind it. */
  roomFor(model: LoadedModel): number
  /**
   * Makes the vectors into predictions where they lie, and emits them under `output`; what the model may not be given,
   * fails on or answers badly is rejected. The rows of all lanes of a model are scored together.
   */
  score(lanes: readonly ScoringLane[], output: string): Promise<void>
}

export function createScoreColumns(deps: ScoreColumnsDeps): ScoreColumns {
  const { choice, maxRows, clock, observer } = deps
  const tails = new WeakMap<LoadedModel, PredictionTail>()

  function tailOf(model: LoadedModel): PredictionTail {
    const known = tails.get(model)
    if (known !== undefined) return known
    const tail = createPredictionTail(model.manifest, choice)
    tails.set(model, tail)
    return tail
  }

  interface Work extends ScoringLane {
    /** Rows that the model may be given; later those that have a prediction. */
    rows: Int32Array
  }

  function begin(lane: ScoringLane): Work {
    const { vectors, model, outcome } = lane
    const takesMissing = model.manifest.input.missing === 'nan'
    const rows = new Int32Array(vectors.length)
    let length = 0
    for (let row = 0; row < vectors.length; row++) {
      if (fits(vectors, row, takesMissing)) rows[length++] = row
      else {
        const from = row * vectors.width
        const problem = vectorProblem(model.manifest, Array.from(vectors.features.subarray(from, from + vectors.width)))
        if (problem === null) rows[length++] = row
        else reject(outcome, vectors, row, problem)
      }
    }
    return { ...lane, rows: rows.subarray(0, length) }
  }

  /** Writes the answers of a run to the rows from position `from` of all lanes' rows. */
  function write(works: readonly Work[], from: number, result: TensorResult, kept: Int32Array, scoredAt: number): void {
    const { outputs, batchRows, failures } = result
    let position = 0
    for (const [lane, { model, vectors, rows, outcome }] of works.entries()) {
      const tail = tailOf(model)
      const { bytes, starts, lengths } = vectors.values
      const first = Math.max(position, from)
      const end = Math.min(position + rows.length, from + batchRows.length)
      for (let at = first; at < end; at++) {
        const row = rows[at - position] as number
        const start = starts[row] as number
        const failure = failures.size === 0 ? undefined : failures.get(at - from)
        const written =
          failure !== undefined
            ? -1
            : tail.write(
                bytes,
                start + (lengths[row] as number),
                outputs,
                at - from,
                batchRows[at - from] as number,
                scoredAt,
              )
        if (written >= 0) {
          lengths[row] = written - start
          rows[kept[lane] as number] = row
          kept[lane] = (kept[lane] as number) + 1
        } else reject(outcome, vectors, row, problemOf(model, outputs, at - from, failure))
      }
      position += rows.length
    }
  }

  function problemOf(model: LoadedModel, outputs: Float32Array, row: number, failure: string | undefined) {
    if (failure !== undefined) return { reason: 'model_error', message: failure }
    const { width } = model.manifest.output
    const read = readOutputs(model.manifest, choice, outputs.subarray(row * width, (row + 1) * width))
    if (!read.ok) return read.problem
    throw new Error('outputs that cannot be used have no problem')
  }

  async function scoreModel(model: LoadedModel, works: readonly Work[]): Promise<void> {
    const tensor = tensorOf(works)
    const count = tensor.length / model.width
    const kept = new Int32Array(works.length)
    for (let from = 0; from < count; from += maxRows) {
      const to = Math.min(count, from + maxRows)
      const startedAt = clock.monotonic()
      const result = await runTensor(model, tensor.subarray(from * model.width, to * model.width))
      observer.ran(model, to - from, (clock.monotonic() - startedAt) / 1_000)
      write(works, from, result, kept, clock.now())
    }
    for (const [lane, work] of works.entries()) work.rows = work.rows.subarray(0, kept[lane])
  }

  return {
    roomFor: (model) => tailOf(model).room,
    async score(lanes, output) {
      const works = lanes.map(begin)
      for (const [model, group] of Map.groupBy(works, (work) => work.model)) await scoreModel(model, group)
      for (const { outcome, vectors, rows } of works) {
        vectors.releaseFeatures()
        if (rows.length > 0) outcome.emitColumns(output, rowsOf(vectors, rows))
      }
    },
  }
}

/** Whether the model may be given the row; where this says no, `vectorProblem` has the last word. */
function fits({ features, width }: VectorColumns, row: number, takesMissing: boolean): boolean {
  for (let at = row * width, end = at + width; at < end; at++) {
    const value = features[at] as number
    if (value - value !== 0 && !(takesMissing && Number.isNaN(value))) return false
  }
  return true
}

/** [rows, width]; the lane's own features where they are all there is. */
function tensorOf(works: readonly { readonly vectors: VectorColumns; readonly rows: Int32Array }[]): Float32Array {
  const [only] = works
  const whole = ({ vectors, rows }: (typeof works)[number]): boolean => rows.length === vectors.length
  if (works.length === 1 && only !== undefined && whole(only)) return only.vectors.features
  const width = only?.vectors.width ?? 0
  const tensor = new Float32Array(works.reduce((sum, { rows }) => sum + rows.length, 0) * width)
  let at = 0
  for (const work of works) {
    const { features } = work.vectors
    if (whole(work)) {
      tensor.set(features, at)
      at += features.length
      continue
    }
    for (const row of work.rows) {
      tensor.set(features.subarray(row * width, (row + 1) * width), at)
      at += width
    }
  }
  return tensor
}

function rowsOf(vectors: VectorColumns, rows: Int32Array): EmittedColumns {
  const { length, sources, keys, values } = vectors
  if (rows.length === length) return vectors
  return {
    length: rows.length,
    sources: rows.map((row) => sources[row] as number),
    keys: pickSlices(keys, rows),
    values: pickSlices(values, rows),
    subjectOf: (at) => vectors.subjectOf(rows[at] as number),
    release: () => vectors.release?.(),
  }
}

function reject(
  outcome: Outcome,
  { sources, values }: VectorColumns,
  row: number,
  problem: { readonly reason: string; readonly message: string },
): void {
  outcome.reject(sources[row] as number, { kind: 'rejected', ...problem, ...vectorSubject(values, row) })
}
