import { fatal } from '../../infra/runtime/errors.ts'
import { goldenFeatures } from '../models/model-session.ts'
import { type ModelRun, ModelRunError, type PreparedModel } from './executor.ts'
import { runLimitMs } from './process-executor.ts'
import type { Quarantine } from './quarantine.ts'
import type { Provider, RowFailure, RunRows } from './run-rows.ts'

export interface IsolationDeps {
  readonly model: PreparedModel
  readonly provider: Provider
  /** Where the rows of a run that ended a child are replayed; null for a model that has no child to end. */
  readonly quarantine: Quarantine | null
  /** What a run of so many rows is expected to take, ms; 0 = not known. */
  readonly expectedMs: (rows: number) => number
}

/** One bad row in so many is looked for by halves; where there are more, each row is run alone. */
const HALVING_PAYS = 50
/** A run that has had this share of its time may be one that hangs. */
const SUSPECT_SHARE = 0.5
/** So often a batch is halved that ended a child for want of memory: each time costs a child. */
const HALVINGS = 2
/** Of a batch of more rows that ended a child for want of memory, and whose rows do not, the number is to blame. */
const SMALL_BATCH = 16
/** Rows that alone took this share of the time of their batch, together, are why it was late. */
const SLOW_SHARE = 0.5
/** Batches in a row that ended a child though each of their rows was answered alone, and soon. */
const UNEXPLAINED = 3
/** Sizes of runs that are remembered: a lane that is behind has a few. */
const SIZES_KEPT = 16
const NONE: ReadonlyMap<number, RowFailure> = new Map()

/**
 * Runs rows on a model, and finds those that it fails on: a row that it refuses, alone as well as in its batch, has a failure
 * and the others have their outputs. After a run that ended a child, its rows are replayed one by one in quarantine, while
 * the executor goes on with other runs; quarantine gets ready while a run that may hang still has time. A batch for which
 * there is not the memory is halved first. Rejects with `model_failed` (crash) when no row is to blame: the model fails even
 * on a row that it is known to answer, or three batches in a row end the child and no row of them does, nor their number, nor
 * what their rows take.
 */
export function isolateRows({ model, provider, quarantine, expectedMs }: IsolationDeps): RunRows {
  const { manifest } = model
  const features = manifest.input.features.length
  const { width } = manifest.output
  const known = goldenFeatures(manifest).subarray(0, features)
  let unexplained = 0
  /** By size of a run, its rows so often. */
  const sizes = new Map<number, Int32Array>()

  function modelFailed(error: ModelRunError): Error {
    const what = `model ${manifest.name} ${manifest.version}`
    return fatal('model_failed', `${what} fails whatever it is given: ${error.message}`, error)
  }

  /** A child that was ended by it begins anew, so a crash here says nothing yet. */
  async function failsOnKnownRow(): Promise<boolean> {
    try {
      await model.run(known)
      return false
    } catch (error) {
      if (error instanceof ModelRunError) return true
      throw error
    }
  }

  function unexplainedAgain(error: ModelRunError): void {
    unexplained++
    if (unexplained >= UNEXPLAINED) throw modelFailed(error)
  }

  async function isolate(rows: Float32Array, first: ModelRunError) {
    const count = rows.length / features
    const outputs = new Float32Array(count * width)
    const batchRows = new Int32Array(count)
    const failures = new Map<number, RowFailure>()
    let refused = 0

    function part(from: number, to: number): Float32Array {
      return rows.subarray(from * features, to * features)
    }

    async function attempt(from: number, to: number): Promise<void> {
      let answer: Float32Array
      try {
        answer = (await model.run(part(from, to))).outputs
      } catch (error) {
        if (!(error instanceof ModelRunError)) throw error
        return await narrow(from, to, error)
      }
      outputs.set(answer, from * width)
      batchRows.fill(to - from, from, to)
    }

    /** The rows of a run that failed. */
    async function narrow(from: number, to: number, error: ModelRunError): Promise<void> {
      const isTooLarge = error.fault === 'memory' && to - from > Math.max(1, count / 2 ** HALVINGS)
      if (!isTooLarge && error.fault !== 'rows' && error.fault !== 'allocation') return await replay(from, to, error)
      if (to - from === 1) {
        refused++
        failures.set(from, { reason: 'model_error', message: error.message })
      } else if (refused > Math.max(1, count / HALVING_PAYS)) {
        for (let row = from; row < to; row++) await attempt(row, row + 1)
      } else {
        const middle = Math.floor((from + to) / 2)
        await attempt(from, middle)
        await attempt(middle, to)
      }
    }

    async function replay(from: number, to: number, error: ModelRunError): Promise<void> {
      const replayed = await quarantine?.replay(manifest, part(from, to))
      if (replayed === undefined) throw modelFailed(error)
      if (replayed === null) {
        unexplainedAgain(error)
        return await attempt(from, to)
      }
      outputs.set(replayed.outputs, from * width)
      batchRows.fill(1, from, to)
      for (const [row, failure] of replayed.failures) failures.set(from + row, failure)
      const areSlow = error.fault === 'timeout' && replayed.tookMs >= SLOW_SHARE * runLimitMs(expectedMs(to - from))
      if (areSlow || [...replayed.failures.values()].some(({ reason }) => reason !== 'model_error')) unexplained = 0
      else if (error.fault !== 'memory' || to - from <= SMALL_BATCH) unexplainedAgain(error)
    }

    if (first.fault === 'rows' || first.fault === 'allocation') {
      if (await failsOnKnownRow()) throw modelFailed(first)
      // a batch of one is tried again, as a row of a larger one is
      if (count === 1) await attempt(0, 1)
      else await narrow(0, count, first)
    } else {
      await narrow(0, count, first)
    }
    const tooMany = count > 1 && failures.size === 0 && (first.fault === 'memory' || first.fault === 'allocation')
    return { outputs, batchRows, failures, provider, tooMany }
  }

  /** Of each row of a run that answered all of them; nobody writes to it. */
  function runsOf(count: number): Int32Array {
    const known = sizes.get(count)
    if (known !== undefined) return known
    if (sizes.size >= SIZES_KEPT) sizes.clear()
    const size = new Int32Array(count).fill(count)
    sizes.set(count, size)
    return size
  }

  async function runWatched(rows: Float32Array, count: number, quarantine: Quarantine): Promise<ModelRun> {
    const suspicion = setTimeout(() => quarantine.warm(manifest), runLimitMs(expectedMs(count)) * SUSPECT_SHARE)
    try {
      return await model.run(rows)
    } finally {
      clearTimeout(suspicion)
    }
  }

  return async (rows) => {
    const count = rows.length / features
    try {
      const { outputs, tookMs } = await (quarantine === null ? model.run(rows) : runWatched(rows, count, quarantine))
      unexplained = 0
      return { outputs, batchRows: runsOf(count), failures: NONE, provider, runMs: tookMs }
    } catch (error) {
      if (error instanceof ModelRunError) return await isolate(rows, error)
      throw error
    }
  }
}
