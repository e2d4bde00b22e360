/** Byte strings in columns: row i is the `lengths[i]` bytes of `bytes` from `starts[i]`; a length of -1 is null. */
export interface Slices {
  readonly bytes: Buffer
  readonly starts: Int32Array
  readonly lengths: Int32Array
}

/** Records without an object for each. What is decoded can be encoded again as it is. */
export interface RecordColumns {
  readonly length: number
  /** Epoch ms; -1 = none. One number when all records have the same. */
  readonly timestamps: Float64Array | number
  readonly keys: Slices
  /** Null = tombstone. */
  readonly values: Slices
  /** Headers as they are encoded (record-headers.ts), a length of 0 for a record without; null = no record has any. */
  readonly headers: Slices | null
}

/** Copies the values into one buffer. */
export function slicesOf(values: readonly (Buffer | null)[]): Slices {
  const starts = new Int32Array(values.length)
  const lengths = new Int32Array(values.length)
  let end = 0
  for (const [row, value] of values.entries()) {
    starts[row] = end
    lengths[row] = value?.length ?? -1
    end += value?.length ?? 0
  }
  return { bytes: Buffer.concat(values.filter((value) => value !== null)), starts, lengths }
}

/** Rows of `slices`, in the order of `rows`; the bytes are shared. */
export function pickSlices(slices: Slices, rows: Int32Array): Slices {
  const starts = new Int32Array(rows.length)
  const lengths = new Int32Array(rows.length)
  for (let at = 0; at < rows.length; at++) {
    starts[at] = slices.starts[rows[at] as number] as number
    lengths[at] = slices.lengths[rows[at] as number] as number
  }
  return { bytes: slices.bytes, starts, lengths }
}

/** Rows [from, to): views of everything. */
export function slicesBetween({ bytes, starts, lengths }: Slices, from: number, to: number): Slices {
  return { bytes, starts: starts.subarray(from, to), lengths: lengths.subarray(from, to) }
}

/** A view of the bytes, not a copy. */
export function sliceAt(slices: Slices, row: number): Buffer | null {
  const start = slices.starts[row] as number
  const length = slices.lengths[row] as number
  return length < 0 ? null : slices.bytes.subarray(start, start + length)
}
