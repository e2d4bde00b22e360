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

/** A view of the bytes, not a copy. */
export function sliceAt(slices: Slices, row: number): Buffer | null {
  const start = slices.starts[row] as number
  const length = slices.lengths[row] as number
  return length < 0 ? null : slices.bytes.subarray(start, start + length)
}
