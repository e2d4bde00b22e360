import type { LoadedModel } from '../models/load-model.ts'

/** One vector on its way to a model, and what is to be done with the answer. */
export interface Row<T> {
  readonly model: LoadedModel
  /** As many as the model takes. */
  readonly features: readonly number[]
  readonly subject: T
}

export interface MicroBatch<T> {
  readonly model: LoadedModel
  readonly subjects: readonly T[]
  /** [subjects, model.width], row by row. */
  readonly tensor: Float32Array
}

/** Groups rows by model, whatever partition they came from, and packs at most `maxRows` into one tensor. */
export function microBatches<T>(rows: readonly Row<T>[], maxRows: number): readonly MicroBatch<T>[] {
  const groups = Map.groupBy(rows, (row) => row.model)
  return [...groups].flatMap(([model, group]) => {
    const batches: MicroBatch<T>[] = []
    for (let from = 0; from < group.length; from += maxRows)
      batches.push(pack(model, group.slice(from, from + maxRows)))
    return batches
  })
}

function pack<T>(model: LoadedModel, rows: readonly Row<T>[]): MicroBatch<T> {
  const tensor = new Float32Array(rows.length * model.width)
  for (const [at, row] of rows.entries()) tensor.set(row.features, at * model.width)
  return { model, subjects: rows.map((row) => row.subject), tensor }
}
