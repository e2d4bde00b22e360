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

/**
 * Runs the rows of a tensor, one result each. One bad row fails a whole run: the rows are halved until those are alone
 * that the model fails on by themselves. Rejects with `model_failed` (crash) when the model no longer answers even a row
 * that it is known to answer: then it is not the rows.
 */
export async function runRows(model: LoadedModel, tensor: Float32Array): Promise<readonly RowResult[]> {
  const results: RowResult[] = []
  const count = tensor.length / model.width

  /** Null when the run succeeded, else what it threw. */
  async function attempt(from: number, to: number): Promise<unknown> {
    try {
      const outputs = await model.run(tensor.subarray(from * model.width, to * model.width))
      const { width } = model.manifest.output
      if (outputs.length !== (to - from) * width)
        throw new RangeError(`${outputs.length} outputs for ${to - from} rows`)
      for (let row = 0; row < to - from; row++) {
        results[from + row] = {
          ok: true,
          outputs: outputs.subarray(row * width, (row + 1) * width),
          batchRows: to - from,
        }
      }
      return null
    } catch (error) {
      return error ?? new Error('the runtime failed')
    }
  }

  async function isolate(from: number, to: number): Promise<void> {
    const error = await attempt(from, to)
    if (error === null) return
    if (to - from === 1) results[from] = { ok: false, message: describeError(error).message }
    else await halves(from, to)
  }

  async function halves(from: number, to: number): Promise<void> {
    const middle = Math.floor((from + to) / 2)
    await isolate(from, middle)
    await isolate(middle, to)
  }

  const error = await attempt(0, count)
  if (error === null) return results
  if (!(await model.answers())) {
    const { name, version } = model.manifest
    throw fatal('model_failed', `model ${name} ${version} fails on every row: ${describeError(error).message}`, error)
  }
  // a batch of one is tried again, as a row of a larger one is
  if (count === 1) await isolate(0, 1)
  else await halves(0, count)
  return results
}
