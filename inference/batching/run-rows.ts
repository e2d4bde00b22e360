import { describeError, fatal } from '../../infra/runtime/errors.ts'
import type { LoadedModel } from '../models/load-model.ts'

export type RowResult =
  | {
      readonly ok: true
      /** [manifest.output.width] */
      readonly outputs: Float32Array
      /** Rows of the run that answered. */
      readonly batchRows: number
    }
  | { readonly ok: false; readonly message: string }

export interface TensorResult {
  /** [rows, manifest.output.width]; whatever it is where the model failed. */
  readonly outputs: Float32Array
  /** Of each row: the rows of the run that answered. */
  readonly batchRows: Int32Array
  /** What the model said, by row. */
  readonly failures: ReadonlyMap<number, string>
}

/**
 * Runs the rows of a tensor. One bad row fails a whole run: the rows are halved until those are alone that the model fails
 * on by themselves. Rejects with `model_failed` (crash) when the model no longer answers even a row that it is known to
 * answer: then it is not the rows.
 */
export async function runTensor(model: LoadedModel, tensor: Float32Array): Promise<TensorResult> {
  const count = tensor.length / model.width
  const { width } = model.manifest.output
  const batchRows = new Int32Array(count)
  const failures = new Map<number, string>()
  let outputs: Float32Array | null = null

  /** Null when the run succeeded, else what it threw. */
  async function attempt(from: number, to: number): Promise<unknown> {
    try {
      const answer = await model.run(tensor.subarray(from * model.width, to * model.width))
      if (answer.length !== (to - from) * width) throw new RangeError(`${answer.length} outputs for ${to - from} rows`)
      if (to - from === count) outputs = answer
      else {
        outputs ??= new Float32Array(count * width)
        outputs.set(answer, from * width)
      }
      batchRows.fill(to - from, from, to)
      return null
    } catch (error) {
      return error ?? new Error('the runtime failed')
    }
  }

  async function isolate(from: number, to: number): Promise<void> {
    const error = await attempt(from, to)
    if (error === null) return
    if (to - from === 1) failures.set(from, describeError(error).message)
    else await halves(from, to)
  }

  async function halves(from: number, to: number): Promise<void> {
    const middle = Math.floor((from + to) / 2)
    await isolate(from, middle)
    await isolate(middle, to)
  }

  const error = await attempt(0, count)
  if (error !== null) {
    if (!(await model.answers())) {
      const { name, version } = model.manifest
      throw fatal('model_failed', `model ${name} ${version} fails on every row: ${describeError(error).message}`, error)
    }
    // a batch of one is tried again, as a row of a larger one is
    if (count === 1) await isolate(0, 1)
    else await halves(0, count)
  }
  return { outputs: outputs ?? new Float32Array(count * width), batchRows, failures }
}

/** The same, one result for each row. */
export async function runRows(model: LoadedModel, tensor: Float32Array): Promise<readonly RowResult[]> {
  const { outputs, batchRows, failures } = await runTensor(model, tensor)
  const { width } = model.manifest.output
  return Array.from(batchRows, (rows, row): RowResult => {
    const message = failures.get(row)
    if (message !== undefined) return { ok: false, message }
    return { ok: true, outputs: outputs.subarray(row * width, (row + 1) * width), batchRows: rows }
  })
}
