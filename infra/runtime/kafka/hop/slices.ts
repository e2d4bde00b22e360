import type { Slices } from '../record-batches/columns.ts'

/** Copies the values into one buffer. */
export function slicesOf(values: readonly (Buffer | null)[]): Slices {
  const starts = new Int32Array(values.length)
  const lengths = new Int32Array(values.length)
  let end = 0
  values.forEach((value, row) => {
    starts[row] = end
    lengths[row] = value?.length ?? -1
    end += value?.length ?? 0
  })
  return { bytes: Buffer.concat(values.filter((value) => value !== null)), starts, lengths }
}
