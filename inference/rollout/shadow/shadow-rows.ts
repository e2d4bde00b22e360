import type { Slices } from '../../../infra/runtime/kafka/record-batches/columns.ts'
import { copyBytes, type VectorColumns } from '../../../infra/runtime/vectors.ts'
import { isInShare } from '../../is-in-share.ts'
import type { RouteShare, ServedVersion } from '../routes.ts'

/** Vectors of one lane that a shadow version is to be shown: a copy, which nobody else writes to. */
export interface ShadowRows {
  readonly version: ServedVersion
  readonly partition: number
  readonly length: number
  readonly keys: Slices
  /** Each in the wire format of a prediction, with room behind it for its rest. */
  readonly values: Slices
  /** [length, width] float32, row by row. */
  readonly features: Float32Array
  readonly width: number
  /** Memory that it takes. */
  readonly bytes: number
}

/** The rows whose entities are in the share, ascending. */
export function rowsInShare(share: RouteShare, vectors: VectorColumns): Int32Array {
  const rows = new Int32Array(vectors.length)
  let count = 0
  for (let row = 0; row < vectors.length; row++) if (isInShare(share, vectors, row)) rows[count++] = row
  return rows.subarray(0, count)
}

export interface CopyOptions {
  /** Bytes that are kept free behind each value. */
  readonly room: number
  /** For the wire format's header. */
  readonly schemaId: number
  /** Of the rows the latest that stay within both are copied. */
  readonly maxRows: number
  readonly maxBytes: number
}

/** Bookkeeping of a row: starts and lengths of its key and value. */
const PLACES_BYTES = 16
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT

/** Null when not even one row fits. */
export function copyRows(
  version: ServedVersion,
  partition: number,
  vectors: VectorColumns,
  rows: Int32Array,
  { room, schemaId, maxRows, maxBytes }: CopyOptions,
): ShadowRows | null {
  const { keys, values, features, width } = vectors
  const fixed = room + width * FLOAT_BYTES + PLACES_BYTES
  let from = rows.length
  let bytes = 0
  while (from > Math.max(0, rows.length - maxRows)) {
    const row = rows[from - 1] as number
    const more = fixed + (values.lengths[row] as number) + Math.max(0, keys.lengths[row] as number)
    if (bytes + more > maxBytes) break
    bytes += more
    from--
  }
  const length = rows.length - from
  if (length === 0) return null

  const target = Buffer.allocUnsafeSlow(bytes - length * (width * FLOAT_BYTES + PLACES_BYTES))
  const copied = new Float32Array(length * width)
  const keyPlaces = { bytes: target, starts: new Int32Array(length), lengths: new Int32Array(length) }
  const valuePlaces = { bytes: target, starts: new Int32Array(length), lengths: new Int32Array(length) }
  let end = 0
  for (let at = 0; at < length; at++) {
    const row = rows[from + at] as number
    end = copySlice(keyPlaces, at, keys, row, end)
    const start = end
    end = copySlice(valuePlaces, at, values, row, end) + room
    target.writeInt32BE(schemaId, start + 1)
    for (let column = 0; column < width; column++) {
      copied[at * width + column] = features[row * width + column] as number
    }
  }
  return { version, partition, length, keys: keyPlaces, values: valuePlaces, features: copied, width, bytes }
}

/** The position after it. */
function copySlice(target: Slices, at: number, source: Slices, row: number, end: number): number {
  const length = source.lengths[row] as number
  target.starts[at] = end
  target.lengths[at] = length
  return length <= 0 ? end : copyBytes(target.bytes, end, source.bytes, source.starts[row] as number, length)
}
